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
func (c *upgradeCmd) Run(s *shop) error {
	path, version, ok := strings.Cut(c.Module, "@")
	if !ok || path == "" || version == "" {
		return fmt.Errorf("modkit: %q: want module@version", c.Module)
	}
	if strings.HasPrefix(path, prefix) {
		return fmt.Errorf("modkit: %s is ours; modkit release sets its version", path)
	}
	l, err := loadLot(s.root)
	if err != nil {
		return err
	}
	out, err := run(os.TempDir(), []string{"GOWORK=off"}, "go", "list", "-m", "-f", "{{.Version}}", path+"@"+version)
	if err != nil {
		return err
	}
	version = strings.TrimSpace(out)

	var in []string
	for _, m := range l.workspace() {
		if old := m.requires(path); old != "" && old != version {
			in = append(in, m.Dir)
			fmt.Fprintf(s.out, "%s: %s %s → %s\n", m.Dir, path, old, version)
		}
	}
	if len(in) == 0 {
		fmt.Fprintf(s.out, "nothing to do: no module of the workspace requires another version of %s\n", path)
		return nil
	}
	err = l.tidy(false, func(m *module) ([]byte, error) { return m.upgraded(path, version) })
	if err != nil {
		return err
	}
	if err := (&workCmd{}).Run(s); err != nil { // the go line may be higher
		return err
	}
	return (&versionsCmd{}).Run(s)
}

// requires is the version at which m requires a module, "" if it does not.
func (m *module) requires(path string) string {
	for _, r := range m.Mod.Require {
		if r.Mod.Path == path {
			return r.Mod.Version
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
func (c *releaseCmd) Run(s *shop) error {
	if err := checkVersion(c.Version); err != nil {
		return err
	}
	l, err := loadLot(s.root)
	if err != nil {
		return err
	}
	if err := l.setVersion(c.Version); err != nil {
		return err
	}
	if err := (&workCmd{}).Run(s); err != nil {
		return err
	}
	if err := l.setSums(c.Version); err != nil {
		return err
	}
	fmt.Fprintln(s.out, "consumers:")
	if err := (&consumerCmd{}).Run(s); err != nil {
		return err
	}
	order, err := l.inOrder()
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out, "commit the work tree as it is, then tag that commit:")
	for _, tag := range tags(order, c.Version) {
		fmt.Fprintln(s.out, "\t"+tag)
	}
	return nil
}

// setVersion makes all modules require their siblings at this version.
func (l *lot) setVersion(version string) error {
	for _, m := range l.modules {
		data, err := m.modAt(version)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(l.dir(m), "go.mod"), data, 0o644); err != nil {
			return err
		}
		if err := l.readMod(m); err != nil {
			return err
		}
	}
	return nil
}

// setSums writes the siblings' lines into every go.sum. A module's own go.sum
// is in its zip, so who is required comes before who requires it. The hashes
// hold as long as the commit holds what the work tree does.
func (l *lot) setSums(version string) error {
	order, err := l.inOrder()
	if err != nil {
		return err
	}
	return withOutside(func(ours, _ string, env []string) error {
		known := map[*module]sums{}
		for _, m := range order {
			name := filepath.Join(l.dir(m), "go.sum")
			old, err := readIfThere(name)
			if err != nil {
				return err
			}
			lines := splitSums(old).foreign
			for _, s := range l.needs(m) {
				lines = append(lines, strings.Split(strings.TrimSpace(known[s].lines(s.path(), version)), "\n")...)
			}
			if data := joinSums(lines); len(data) > 0 {
				if err := os.WriteFile(name, data, 0o644); err != nil {
					return err
				}
			}
			if m.Kind == own {
				continue // no module requires it, and none may
			}
			if known[m], err = l.publish(m, ours, version); err != nil {
				return err
			}
		}
		// The go command must find in go.sum all it needs, and agree.
		env = append(env, "GOFLAGS=-mod=readonly -modcacherw")
		return atOnce(l.workspace(), func(m *module) error {
			_, err := run(l.dir(m), env, "go", "vet", "./...")
			return err
		})
	})
}

// tags are the names under which git must know the commit of a release.
func tags(order []*module, version string) []string {
	var all []string
	for _, m := range order {
		if m.Kind == released {
			all = append(all, m.Dir+"/"+version)
		}
	}
	return all
}
