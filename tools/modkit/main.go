// Command modkit does the chores of a repository of many modules: it writes
// go.work, scaffolds a module, serves the work tree as a module proxy, checks
// the direction of imports, and prepares a release.
//
// It reads the list of modules in ci/modules.txt. It changes nothing outside the
// work tree: it neither tags nor pushes.
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
	Root string `help:"Root of the repository; by default the nearest directory upwards with ci/modules.txt." type:"path"`

	New      newCmd      `cmd:"" group:"daily" help:"Scaffold a module that builds, with its tests."`
	Work     workCmd     `cmd:"" group:"daily" help:"Write go.work from go.mod files and ci/modules.txt."`
	Tidy     tidyCmd     `cmd:"" group:"daily" help:"Tidy go.mod and go.sum, of one module or all."`
	Consumer consumerCmd `cmd:"" group:"daily" help:"Check what a go get of each released module pulls in."`
	Readme   readmeCmd   `cmd:"" group:"daily" help:"Write the table of modules in README.md."`

	Deps     depsCmd     `cmd:"" group:"check" help:"The direction of imports between modules."`
	Rooms    roomsCmd    `cmd:"" group:"check" help:"The direction of uses between the files of a module."`
	Docs     docsCmd     `cmd:"" group:"check" help:"Files and links in the documentation exist, and its programs compile."`
	Golines  golinesCmd  `cmd:"" group:"check" help:"No line of a go.mod that harms the users of the module."`
	Versions versionsCmd `cmd:"" group:"check" help:"One version of a library in the workspace."`

	Upgrade upgradeCmd `cmd:"" group:"release" help:"Set one third-party version in all modules: module@version."`
	Proxy   proxyCmd   `cmd:"" group:"release" help:"Write the work tree as a file GOPROXY."`
	Release releaseCmd `cmd:"" group:"release" help:"Prepare a release: requires, sums, consumers and the list of tags."`
	List    listCmd    `cmd:"" group:"release" help:"Print the directories of the modules."`
}

const description = `Chores of a repository of many modules.

From an idea to a commit:

  modkit new xfers/rot13            a module that builds; write it, and its tests
  go -C xfers/rot13 test ./...
  modkit tidy xfers/rot13           after a new import
  modkit consumer -update xfers/rot13 && modkit readme
  ci/test.sh quick                  format, vet, tests; ci/test.sh has the rest

From the root of the repository modkit is: go run ./tools/modkit`

var groups = []kong.Group{
	{Key: "daily", Title: "Every day:"},
	{Key: "check", Title: "Checks, which CI runs:"},
	{Key: "release", Title: "Versions and releases:"},
}

// env is what every command works with.
type env struct {
	root string
	out  io.Writer
}

func main() {
	kctx := parse(os.Args[1:])
	root, err := findRoot(commands.Root)
	kctx.FatalIfErrorf(err)
	if err := kctx.Run(&env{root: root, out: os.Stdout}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func parse(args []string) *kong.Context {
	parser := kong.Must(&commands, kong.Name("modkit"), kong.Description(description), kong.ExplicitGroups(groups), kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.UsageOnError())
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

func (c *listCmd) Run(e *env) error {
	r, err := loadRepo(e.root)
	if err != nil {
		return err
	}
	for _, m := range r.modules {
		if c.Kind == "all" || c.Kind == "own" && m.Kind == own || c.Kind == "workspace" && m.Kind != own || c.Kind == "released" && m.Kind == released {
			fmt.Fprintln(e.out, m.Dir)
		}
	}
	return nil
}
