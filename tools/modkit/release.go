package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
)

type upgradeCmd struct {
	Module string `arg:"" help:"module@version; the version may be latest."`
}

// Run sets one version of a third-party module in every go.mod that requires it.
func (c *upgradeCmd) Run(e *env) error {
	path, version, ok := strings.Cut(c.Module, "@")
	if !ok || path == "" || version == "" {
		return fmt.Errorf("modkit: %q: want module@version", c.Module)
	}
	if strings.HasPrefix(path, prefix) {
		return fmt.Errorf("modkit: %s is ours; modkit release sets its version", path)
	}
	r, err := loadRepo(e.root)
	if err != nil {
		return err
	}
	out, err := run(os.TempDir(), []string{"GOWORK=off"}, "go", "list", "-m", "-f", "{{.Version}}", path+"@"+version)
	if err != nil {
		return err
	}
	version = strings.TrimSpace(out)

	var in []string
	for _, m := range r.workspace() {
		if old := m.requires(path); old != "" && old != version {
			in = append(in, m.Dir)
			fmt.Fprintf(e.out, "%s: %s %s → %s\n", m.Dir, path, old, version)
		}
	}
	if len(in) == 0 {
		fmt.Fprintf(e.out, "nothing to do: no module of the workspace requires another version of %s\n", path)
		return nil
	}
	err = r.tidy(r.modules, false, func(m *module) ([]byte, error) { return m.upgraded(path, version) })
	if err != nil {
		return err
	}
	if err := (&workCmd{}).Run(e); err != nil { // the go line may be higher
		return err
	}
	return (&versionsCmd{}).Run(e)
}

// requires is the version at which m requires a module, "" if it does not.
func (m *module) requires(path string) string {
	for _, req := range m.Mod.Require {
		if req.Mod.Path == path {
			return req.Mod.Version
		}
	}
	return ""
}

// upgraded is m's go.mod with another version of a module it requires; a
// module outside the workspace keeps its own.
func (m *module) upgraded(path, version string) ([]byte, error) {
	data := modfile.Format(m.Mod.Syntax)
	if m.Kind == own || m.requires(path) == "" {
		return data, nil
	}
	f, err := modfile.Parse(m.Dir+"/go.mod", data, nil)
	if err != nil {
		return nil, err
	}
	if err := f.AddRequire(path, version); err != nil {
		return nil, err
	}
	return f.Format()
}

type releaseCmd struct {
	Version string `arg:"" help:"Version of all modules, like v0.2.0."`
}

// Run leaves the work tree ready to be committed and tagged; it does neither.
func (c *releaseCmd) Run(e *env) error {
	if err := checkVersion(c.Version); err != nil {
		return err
	}
	r, err := loadRepo(e.root)
	if err != nil {
		return err
	}
	if err := r.setVersion(c.Version); err != nil {
		return err
	}
	if err := (&workCmd{}).Run(e); err != nil {
		return err
	}
	if err := r.setSums(c.Version); err != nil {
		return err
	}
	fmt.Fprintln(e.out, "consumers:")
	if err := (&consumerCmd{}).Run(e); err != nil {
		return err
	}
	order, err := r.inOrder()
	if err != nil {
		return err
	}
	fmt.Fprintln(e.out, "commit the work tree as it is, then tag that commit:")
	for _, tag := range tags(order, c.Version) {
		fmt.Fprintln(e.out, "\t"+tag)
	}
	return nil
}

// setVersion makes all modules require their siblings at this version.
func (r *repo) setVersion(version string) error {
	for _, m := range r.modules {
		data, err := m.modAt(version)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(r.dir(m), "go.mod"), data, 0o644); err != nil {
			return err
		}
		if err := r.readMod(m); err != nil {
			return err
		}
	}
	return nil
}

// setSums writes the siblings' lines into every go.sum. A module's own go.sum is
// in its zip, so a module comes after those it requires. The hashes are right as
// long as the commit has the same files as the work tree.
func (r *repo) setSums(version string) error {
	order, err := r.inOrder()
	if err != nil {
		return err
	}
	return withOutside(func(ours, _ string, environ []string) error {
		known := map[*module]sums{}
		for _, m := range order {
			name := filepath.Join(r.dir(m), "go.sum")
			old, err := readIfThere(name)
			if err != nil {
				return err
			}
			lines := splitSums(old).foreign
			for _, s := range r.needs(m) {
				lines = append(lines, strings.Split(strings.TrimSpace(known[s].lines(s.path(), version)), "\n")...)
			}
			if data := joinSums(lines); len(data) > 0 {
				if err := os.WriteFile(name, data, 0o644); err != nil {
					return err
				}
			}
			if m.Kind == own {
				continue // no module may require it
			}
			if known[m], err = r.publish(m, ours, version); err != nil {
				return err
			}
		}
		// Every hash that the go command needs must be in go.sum, and match.
		environ = append(environ, "GOFLAGS=-mod=readonly -modcacherw -trimpath")
		return atOnce(r.workspace(), func(m *module) error {
			_, err := run(r.dir(m), environ, "go", "vet", "./...")
			return err
		})
	})
}

// tags returns the git tags of a release.
func tags(order []*module, version string) []string {
	var all []string
	for _, m := range order {
		if m.Kind == released {
			all = append(all, m.Dir+"/"+version)
		}
	}
	return all
}
