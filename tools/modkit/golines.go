package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

type golinesCmd struct{}

func (c *golinesCmd) Run(e *env) error {
	r, err := loadRepo(e.root)
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range r.modules {
		errs = append(errs, checkLines(m)...)
	}
	return errors.Join(errs...)
}

// checkLines finds the lines of a go.mod that harm the users of the module.
func checkLines(m *module) []error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("modkit: %s/go.mod: %s", m.Dir, fmt.Sprintf(format, args...)))
	}
	for _, r := range m.Mod.Replace {
		bad("replace %s: go install …@version refuses a module that has one", r.Old.Path)
	}
	for _, t := range m.Mod.Tool {
		bad("tool %s: grows the module graph of every user", t.Path)
	}
	if t := m.Mod.Toolchain; t != nil {
		bad("toolchain %s: changes the user's toolchain", t.Name)
	}
	for _, x := range m.Mod.Exclude {
		bad("exclude %s: counts in this module alone, so users get another build", x.Mod)
	}
	if m.Dir == "core" && len(m.Mod.Require) > 0 {
		bad("require %s: core requires nothing", m.Mod.Require[0].Mod)
	}
	return errs
}

type versionsCmd struct{}

func (c *versionsCmd) Run(e *env) error {
	r, err := loadRepo(e.root)
	if err != nil {
		return err
	}
	return checkVersions(r.workspace())
}

// checkVersions fails where two modules require the same module at two
// versions. Indirect requirements count too: the workspace builds with the highest
// version, so no test would cover the other.
func checkVersions(modules []*module) error {
	by := map[string]map[string][]string{} // path → version → directories
	for _, m := range modules {
		for _, req := range m.Mod.Require {
			if by[req.Mod.Path] == nil {
				by[req.Mod.Path] = map[string][]string{}
			}
			by[req.Mod.Path][req.Mod.Version] = append(by[req.Mod.Path][req.Mod.Version], m.Dir)
		}
	}
	var errs []error
	for path, versions := range by {
		if len(versions) == 1 {
			continue
		}
		var uses []string
		for v, dirs := range versions {
			uses = append(uses, v+" in "+strings.Join(dirs, ", "))
		}
		slices.Sort(uses)
		errs = append(errs, fmt.Errorf("modkit: %s has %d versions: %s; run: go run ./tools/modkit upgrade %s@VERSION", path, len(versions), strings.Join(uses, "; "), path))
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}
