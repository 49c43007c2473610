package tp

import (
	"runtime/debug"
	"testing"
)

func TestMixedVersions(t *testing.T) {
	mod := func(path, version string) *debug.Module {
		return &debug.Module{Path: "github.com/teleport-go/teleport/" + path, Version: version}
	}
	replaced := func(path, version string, by *debug.Module) *debug.Module {
		m := mod(path, version)
		m.Replace = by
		return m
	}
	foreign := &debug.Module{Path: "github.com/teleport-go/teleporter", Version: "v9.0.0"}
	for _, test := range []struct {
		name    string
		modules []*debug.Module
		want    string
	}{
		{"none", nil, ""},
		{"one version", []*debug.Module{mod("core", "v0.1.0"), mod("xfers/gzip", "v0.1.0"), foreign}, ""},
		{"two versions", []*debug.Module{mod("xfers/gzip", "v0.2.0"), foreign, mod("core", "v0.1.0")},
			"tp: modules of github.com/teleport-go/teleport have different versions (core v0.1.0, xfers/gzip v0.2.0); go get all of them in one version"},
		{"work tree", []*debug.Module{mod("core", "(devel)"), mod("xfers/gzip", "v0.2.0"), mod("xfers/md5", "")}, ""},
		{"replaced by a folder", []*debug.Module{replaced("core", "v0.1.0", &debug.Module{Path: "./core"}), mod("xfers/gzip", "v0.2.0")}, ""},
		{"replaced by a version", []*debug.Module{replaced("core", "v0.1.0", mod("core", "v0.2.0")), mod("xfers/gzip", "v0.2.0")}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := mixedVersions(test.modules); got != test.want {
				t.Errorf("mixedVersions = %q; want %q", got, test.want)
			}
		})
	}
	if got := checkVersions(); got != "" {
		t.Errorf("checkVersions() = %q in a test of one module; want nothing", got)
	}
}
