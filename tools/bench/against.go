package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// The sides of a comparison of two commits.
const (
	before = "before" // the commit of -against
	after  = "after"  // the work tree
)

// builds is this program built from two commits, for a comparison.
//
// The linker puts the functions of each commit elsewhere. By that alone one that has not
// changed runs up to a seventh slower or faster, and a row is up to 6% lower or higher, however
// often it is measured. So each side is built several times, with the functions in another
// order each time, and rounds take these files in turn.
type builds struct {
	commit        string   // hash of the one of -against
	before, after []string // files, one for each layout
}

// maxLayouts is how many layouts there are at most: linking one takes some seconds.
const maxLayouts = 9

// buildSides builds both sides of the comparison that the options ask for. The
// caller removes them.
func (o *options) buildSides(ctx context.Context) (remove func(), err error) {
	dir, err := os.MkdirTemp("", "teleport-bench-")
	if err != nil {
		return func() {}, err
	}
	remove = func() { os.RemoveAll(dir) }
	peers, err := peersFolder()
	if err != nil {
		return remove, err
	}
	b, err := buildBoth(ctx, filepath.Join(peers, "..", "..", ".."), "tools/bench", o.against, dir, min(o.rounds, maxLayouts))
	o.builds = &b
	return remove, err
}

// buildBoth builds the program in folder pkg of the repository at root, from a revision and
// from the work tree, by the same commands into dir: first in the linker's own layout, then
// in others. The revision is checked out below dir by an index of its own: neither the
// repository nor its list of work trees changes, and removing dir removes everything.
func buildBoth(ctx context.Context, root, pkg, revision, dir string, layouts int) (b builds, err error) {
	tree := filepath.Join(dir, "tree")
	defer os.RemoveAll(tree)
	git := func(args ...string) (string, error) {
		return output(ctx, root, []string{"GIT_INDEX_FILE=" + filepath.Join(dir, "index")}, "git", args...)
	}
	if b.commit, err = git("rev-parse", "--verify", "--quiet", revision+"^{commit}"); err != nil {
		return b, fmt.Errorf("revision %q is not a commit of %s: %w", revision, root, err)
	}
	if _, err := git("read-tree", b.commit); err != nil {
		return b, err
	}
	if _, err := git("checkout-index", "--all", "--prefix="+tree+"/"); err != nil {
		return b, err
	}
	build := func(side, root string) (programs []string, err error) {
		for layout := range layouts {
			program := filepath.Join(dir, fmt.Sprint(side, layout))
			// GOWORK is the tree's own: the variable may name another work tree's.
			_, err := output(ctx, filepath.Join(root, pkg), []string{"GOWORK="}, "go", "build", "-trimpath", "-buildvcs=false",
				fmt.Sprintf("-ldflags=-randlayout=%d", layout), "-o", program, ".")
			if err != nil {
				return nil, fmt.Errorf("the program %s: %w", side, err)
			}
			programs = append(programs, program)
		}
		return programs, nil
	}
	if b.before, err = build(before, tree); err != nil {
		return b, err
	}
	b.after, err = build(after, root)
	return b, err
}

// both returns each candidate twice, with the programs of both sides for a round.
func (b *builds) both(list []candidate, round int) (sides []candidate) {
	if b == nil {
		return list
	}
	for _, c := range list {
		old := c
		old.side, old.program = before, b.before[round%len(b.before)]
		c.side, c.program = after, b.after[round%len(b.after)]
		sides = append(sides, old, c)
	}
	return sides
}

// pairs returns each turn twice in a row, with the candidates of both sides: the
// earlier commit first in even rounds, last in odd ones.
func (b *builds) pairs(turns []turn) (list []turn) {
	if b == nil {
		return turns
	}
	for _, t := range turns {
		pair := [2]turn{t, t}
		for i, c := range b.both([]candidate{t.candidate}, t.round) {
			pair[(i+t.round)%2].candidate = c
		}
		list = append(list, pair[:]...)
	}
	return list
}
