package tp

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
)

// modulePrefix begins the path of each module of this repository.
const modulePrefix = "github.com/teleport-go/teleport/"

// checkVersions returns a sentence about modules of this repository that were
// built into the program in different versions, or "". They are made to fit
// together in one version; others may, or may fail strangely.
func checkVersions() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	modules := []*debug.Module{&info.Main}
	return mixedVersions(append(modules, info.Deps...))
}

// mixedVersions leaves out what has no version: the modules of a workspace.
func mixedVersions(modules []*debug.Module) string {
	var names []string
	versions := map[string]bool{}
	for _, m := range modules {
		name, ours := strings.CutPrefix(m.Path, modulePrefix)
		if m.Replace != nil {
			m = m.Replace
		}
		if !ours || m.Version == "" || m.Version == "(devel)" {
			continue
		}
		names = append(names, name+" "+m.Version)
		versions[m.Version] = true
	}
	if len(versions) < 2 {
		return ""
	}
	slices.Sort(names)
	return fmt.Sprintf("tp: modules of %s have different versions (%s); go get all of them in one version",
		strings.TrimSuffix(modulePrefix, "/"), strings.Join(names, ", "))
}
