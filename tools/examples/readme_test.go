// Package examples holds the examples of the project, each in a folder of its own.
package examples

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}

var fence = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")

func goBlocks(text string) (blocks []string) {
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// TestProgramsInReadmesBuild vets, and so type-checks, all that the pages at the
// root show as Go.
func TestProgramsInReadmesBuild(t *testing.T) {
	for _, page := range []string{"README.md", "README_ZH.md", "MIGRATING.md", "SECURITY.md"} {
		for i, block := range goBlocks(read(t, page)) {
			t.Run(fmt.Sprintf("%s %d", page, i+1), func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "main.go")
				if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
					t.Fatal(err)
				}
				if out, err := exec.CommandContext(t.Context(), "go", "vet", file).CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
				if out, err := exec.CommandContext(t.Context(), "gofmt", "-l", file).CombinedOutput(); err != nil || len(out) > 0 {
					t.Errorf("not formatted: %v %s", err, out)
				}
			})
		}
	}
}

func TestReadmesShowTheQuickstart(t *testing.T) {
	blocks := goBlocks(read(t, "README.md"))
	for _, name := range []string{"server", "client"} {
		if !slices.Contains(blocks, read(t, "tools/examples/quickstart/"+name+"/main.go")) {
			t.Errorf("README.md has no block that is quickstart/%s/main.go", name)
		}
	}
	if len(blocks) != 4 {
		t.Errorf("README.md has %d programs, want 4", len(blocks))
	}
	if !slices.Equal(goBlocks(read(t, "README_ZH.md")), blocks) {
		t.Error("the programs in README_ZH.md are not those of README.md")
	}
}

// TestReadmeHasTwoCommands keeps the first steps at two.
func TestReadmeHasTwoCommands(t *testing.T) {
	const want = "```sh\ngo run ./tools/teleport demo\n./ci/test.sh\n```"
	for _, page := range []string{"README.md", "README_ZH.md"} {
		text := read(t, page)
		if !strings.Contains(text, want) || strings.Count(text, "```sh") != 1 {
			t.Errorf("%s must have one block of commands:\n%s", page, want)
		}
	}
}

var anyFence = regexp.MustCompile("(?ms)^ *```.*?^ *```$")

var link = regexp.MustCompile(`\]\(([^)#:]+)\)`)

func TestLinksInPagesLeadSomewhere(t *testing.T) {
	for _, page := range []string{"README.md", "README_ZH.md", "MIGRATING.md", "SECURITY.md", "tools/examples/README.md"} {
		prose := anyFence.ReplaceAllString(read(t, page), "")
		for _, m := range link.FindAllStringSubmatch(prose, -1) {
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(page), filepath.FromSlash(m[1]))); err != nil {
				t.Errorf("%s: link to %s: %v", page, m[1], err)
			}
		}
	}
}

func TestEveryExampleIsInTheIndex(t *testing.T) {
	index := read(t, "tools/examples/README.md")
	dirs, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if d.IsDir() && !strings.Contains(index, "]("+d.Name()+")") {
			t.Errorf("README.md has no line about %s", d.Name())
		}
	}
}
