package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

func TestMain(m *testing.M) {
	tp.SetLoggerLevel("OFF")
	os.Exit(m.Run())
}

// What differs from run to run: times, which side is faster, and the number of heartbeats.
var varies = []struct {
	is   *regexp.Regexp
	like string
}{
	{regexp.MustCompile(`(?m)(Retry-After: ).*`), "$1…"},
	{regexp.MustCompile(`(?m)(502 Bad Gateway: ).*`), "$1…"}, // the call may come before the break is noticed
	{regexp.MustCompile(`(?m)^((?:in|out) +/heartbeat +)\d+.*`), "$1…"},
	{regexp.MustCompile(`(?m)^((?:in|out) .*) [0-9.µms]+$`), "$1 …"},
	{regexp.MustCompile(`(?m)^teleport_errors_total\{.*"/heartbeat".*\n`), ""}, // one may have waited for the redial
	{regexp.MustCompile(` +`), " "},                                            // columns are as wide as what is in them
}

func steady(text string) string {
	for _, v := range varies {
		text = v.is.ReplaceAllString(text, v.like)
	}
	return strings.TrimSpace(text)
}

// lines is the output, and when each line of it was written.
type lines struct {
	strings.Builder
	texts []string
	times []time.Time
}

func (l *lines) Write(b []byte) (int, error) {
	l.texts, l.times = append(l.texts, string(b)), append(l.times, time.Now())
	return l.Builder.Write(b)
}

// slow reports whether the second report may have been asked for a second after the first one:
// then it is not too fast.
func (l *lines) slow() bool {
	isReport := func(text string) bool { return strings.HasPrefix(text, "/prices/report ") }
	first := slices.IndexFunc(l.texts, isReport)
	if first < 1 {
		return false
	}
	second := first + 1 + slices.IndexFunc(l.texts[first+1:], isReport)
	return l.times[second].Sub(l.times[first-1]) >= time.Second
}

func TestReadmeShowsTheOutput(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, ok := strings.Cut(strings.ReplaceAll(string(page), "\r\n", "\n"), "<!-- output -->\n```\n")
	if !ok {
		t.Fatal("README.md has no output")
	}
	shown, _, _ = strings.Cut(shown, "```")
	out := new(lines)
	for slow := true; slow; slow = out.slow() { // on a busy machine
		out = new(lines)
		if err := run(out); err != nil {
			t.Fatalf("%v, after\n%s", err, out)
		}
	}
	if got, want := steady(out.String()), steady(shown); got != want {
		t.Errorf("README.md shows another output; got\n%s\n\nwant\n%s", got, want)
	}
}
