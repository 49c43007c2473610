package tp

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
)

// modulePrefix is the prefix of the paths of this repository's modules.
const modulePrefix = "github.com/teleport-go/teleport/"

// checkVersions returns a warning if the program contains modules of this repository
// in different versions, else "". Only modules of one version are tested together;
// others may fail in strange ways.
func checkVersions() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	modules := []*debug.Module{&info.Main}
	return mixedVersions(append(modules, info.Deps...))
}

// mixedVersions is checkVersions of these modules. It ignores modules without a version, as in a workspace.
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
