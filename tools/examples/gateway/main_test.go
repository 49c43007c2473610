package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

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
	var out strings.Builder
	if err := run(&out); err != nil {
		t.Fatalf("%v, after\n%s", err, &out)
	}
	if got, want := steady(out.String()), steady(shown); got != want {
		t.Errorf("README.md shows another output; got\n%s\n\nwant\n%s", got, want)
	}
}
