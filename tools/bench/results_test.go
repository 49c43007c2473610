package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFolderOfProcessor(t *testing.T) {
	for _, test := range []struct {
		name string
		busy int
		want string
	}{
		{"AMD EPYC", 0, "amd-epyc"},
		{"AMD EPYC", 2, "amd-epyc-busy-2"},
		{"Intel(R) Xeon(R) Processor", 0, "intel-xeon-processor"},
		{"Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz", 0, "intel-core-i7-8650u-cpu-1-90ghz"},
		{"../..", 0, "unknown"},
		{"", 0, "arm64"},
	} {
		d := &document{Machine: machine{CPU: test.name, Arch: "arm64"}, Busy: test.busy}
		require.Equal(t, test.want, d.folder(), test.name)
	}
}

// Each folder of results has a report of the processor it is named after, and a
// line in the README.
func TestResultsAreOfTheirProcessor(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("results", "README.md"))
	require.NoError(t, err)
	reports, err := filepath.Glob(filepath.Join("results", "*", "report.md"))
	require.NoError(t, err)
	require.NotEmpty(t, reports)
	heading := regexp.MustCompile(`^# .*: (.*)\n`)
	for _, file := range reports {
		report, err := os.ReadFile(file)
		require.NoError(t, err)
		m := heading.FindSubmatch(report)
		require.NotNil(t, m, "%s does not begin with its processor", file)
		require.Contains(t, string(report), " CPUs ("+string(m[1]), "%s names two processors", file)
		folder := filepath.Base(filepath.Dir(file))
		require.Regexp(t, "^"+machine{CPU: string(m[1])}.slug()+`(-busy-\d+)?$`, folder)
		require.Contains(t, string(readme), fmt.Sprintf("(%s/report.md)", folder))
	}
}
