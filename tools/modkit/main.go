// Command modkit does the chores of a repository of many modules: it writes
// go.work, scaffolds a module, serves the work tree as a module proxy, checks
// who imports whom, and prepares a release.
//
// It reads ci/modules.txt, which says which modules there are. Nothing it does
// leaves the machine: it tags nothing and pushes nothing.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"github.com/alecthomas/kong"
)

var commands struct {
	Root string `help:"Root of the repository; looked for upwards from here by default." type:"path"`

	Work     workCmd     `cmd:"" help:"Write go.work, and that of each module with a workspace of its own."`
	New      newCmd      `cmd:"" help:"Scaffold a module: family/name."`
	Proxy    proxyCmd    `cmd:"" help:"Write the work tree as a file GOPROXY."`
	Deps     depsCmd     `cmd:"" help:"Check who imports whom."`
	Golines  golinesCmd  `cmd:"" help:"Check that go.mod files hold no line that hurts who requires them."`
	Versions versionsCmd `cmd:"" help:"Check that a library has one version in the workspace."`
	Upgrade  upgradeCmd  `cmd:"" help:"Set one third-party version in all modules: module@version."`
	Tidy     tidyCmd     `cmd:"" help:"Tidy every module, in a copy."`
	Consumer consumerCmd `cmd:"" help:"Prove what a go get of each released module draws."`
	Readme   readmeCmd   `cmd:"" help:"Write the table of modules in README.md."`
	Release  releaseCmd  `cmd:"" help:"Prepare a release: requires, sums, proof and the list of tags."`
	List     listCmd     `cmd:"" help:"Print the directories of the modules."`
}

// shop is what every command works with.
type shop struct {
	root string
	out  io.Writer
}

func main() {
	kctx := parse(os.Args[1:])
	root, err := findRoot(commands.Root)
	kctx.FatalIfErrorf(err)
	if err := kctx.Run(&shop{root: root, out: os.Stdout}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func parse(args []string) *kong.Context {
	parser := kong.Must(&commands, kong.Name("modkit"), kong.Description("Chores of a repository of many modules."), kong.UsageOnError())
	kctx, err := parser.Parse(goFlags(args))
	parser.FatalIfErrorf(err)
	return kctx
}

var goFlag = regexp.MustCompile(`^-[a-z][a-z-]+(=.*)?$`)

// goFlags lets a long flag have one dash, as Go's own tools do: -check is --check.
func goFlags(args []string) []string {
	out := make([]string, 0, len(args))
	for _, a := range args {
		if goFlag.MatchString(a) {
			a = "-" + a
		}
		out = append(out, a)
	}
	return out
}

// findRoot returns dir, or the nearest directory upwards that holds ci/modules.txt.
func findRoot(dir string) (string, error) {
	if dir != "" {
		return filepath.Abs(dir)
	}
	at, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(at, modulesFile)); err == nil {
			return at, nil
		}
		up := filepath.Dir(at)
		if up == at {
			return "", fmt.Errorf("modkit: no %s here or above", modulesFile)
		}
		at = up
	}
}

type listCmd struct {
	Kind string `arg:"" optional:"" enum:"all,workspace,released,own" default:"all" help:"all, workspace, released or own."`
}

func (c *listCmd) Run(s *shop) error {
	l, err := loadLot(s.root)
	if err != nil {
		return err
	}
	for _, m := range l.modules {
		if c.Kind == "all" || c.Kind == "own" && m.Kind == own || c.Kind == "workspace" && m.Kind != own || c.Kind == "released" && m.Kind == released {
			fmt.Fprintln(s.out, m.Dir)
		}
	}
	return nil
}
