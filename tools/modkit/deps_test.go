package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const house = "github.com/teleport-go/teleport/"

func TestDirection(t *testing.T) {
	for _, test := range []struct{ name, file, spec, want string }{
		{"core, std", "core/a.go", `"net/http"`, ""},
		{"core, itself", "core/a.go", `"` + house + `core/socket"`, ""},
		{"core, foreign", "core/a.go", `"golang.org/x/sync/errgroup"`, "standard library only"},
		{"core, foreign in a test", "core/a_test.go", `"example.com/kong"`, "standard library only"},
		{"core, module", "core/a.go", `"` + house + `xfers/gzip"`, "standard library only"},
		{"core, module in a test", "core/deep/er/a_test.go", `_ "` + house + `protos/rawproto"`, "standard library only"},
		{"core, cgo", "core/a.go", `"C"`, "standard library only"},
		{"core, name that begins alike", "core/a.go", `"` + house + `corex"`, "standard library only"},

		{"protocol, socket", "protos/rawproto/a.go", `"` + house + `core/socket"`, ""},
		{"protocol, ids of codecs", "protos/rawproto/a.go", `"` + house + `core/codec"`, ""},
		{"protocol, engine", "protos/rawproto/a.go", `tp "` + house + `core"`, "protos see of core only"},
		{"protocol, engine in a test", "protos/rawproto/a_test.go", `tp "` + house + `core"`, ""},
		{"protocol, suite in a test", "protos/rawproto/a_test.go", `"` + house + `core/prototest"`, ""},
		{"protocol, suite outside a test", "protos/rawproto/a.go", `"` + house + `core/prototest"`, "protos see of core only"},
		{"protocol, sibling", "protos/rawproto/a.go", `"` + house + `xfers/gzip"`, "siblings do not import siblings"},
		{"protocol, sibling in a test", "protos/rawproto/a_test.go", `_ "` + house + `xfers/gzip"`, "siblings do not import siblings"},
		{"protocol, tool", "protos/rawproto/a.go", `"` + house + `tools/modkit"`, "nothing imports tools"},
		{"protocol, nobody's", "protos/rawproto/a.go", `"` + house + `codecs/lost"`, "it is in no module of"},

		{"filter, xfer", "xfers/gzip/a.go", `"` + house + `core/xfer"`, ""},
		{"filter, itself", "xfers/gzip/a_test.go", `"` + house + `xfers/gzip"`, ""},
		{"filter, socket", "xfers/gzip/a.go", `"` + house + `core/socket"`, "xfers see of core only core/xfer"},
		{"filter, its library", "xfers/gzip/a.go", `"example.com/zip/deep"`, ""},
		{"filter, its library in a test", "xfers/gzip/a_test.go", `"example.com/zip"`, ""},
		{"filter, another library in a test", "xfers/gzip/a_test.go", `"example.com/testify"`, "user's module graph"},

		{"standard, blank", "mixers/standard/a.go", `_ "` + house + `protos/rawproto"`, ""},
		{"standard, named", "mixers/standard/a.go", `"` + house + `protos/rawproto"`, "nothing but blank imports"},
		{"standard, engine in a test", "mixers/standard/a_test.go", `tp "` + house + `core"`, ""},
		{"mixer, engine", "mixers/other/a.go", `tp "` + house + `core"`, ""},
		{"mixer, sibling it may", "mixers/other/a.go", `"` + house + `protos/rawproto"`, ""},
		{"mixer, sibling it may not", "mixers/other/a.go", `"` + house + `xfers/gzip"`, "siblings do not import siblings"},
		{"mixer, testify", "mixers/other/a_test.go", `"example.com/testify"`, ""},

		{"tool, anything", "tools/modkit/a.go", `"` + house + `xfers/gzip"`, ""},
		{"tool of another workspace", "tools/interop/a.go", `"example.com/kong"`, ""},

		{"build tag of another system", "core/a_windows.go", `"golang.org/x/sys/windows"`, "standard library only"},
		{"testdata", "core/testdata/a.go", `"example.com/kong"`, ""},
		{"ignored folder", "core/_old/a.go", `"example.com/kong"`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := small()
			files[modulesFile] += "mixers/other yes protos/rawproto\n"
			files["mixers/other/go.mod"] = gomod("mixers/other", "example.com/testify v1.0.0")
			files["xfers/gzip/go.mod"] = gomod("xfers/gzip", "example.com/zip v1.0.0", "example.com/testify v1.0.0")
			files["xfers/gzip/gzip.go"] = "package gzip\n\nimport _ \"example.com/zip\"\n"
			files[test.file] = "package a\n\nimport " + test.spec + "\n"
			r := load(t, files)

			var errs []error
			for _, m := range r.modules {
				imports, err := r.scan(m)
				require.NoError(t, err)
				errs = append(errs, r.judge(m, imports)...)
			}
			switch {
			case test.want == "" && len(errs) > 0:
				t.Errorf("got %v; want none", errs)
			case test.want == "":
			case len(errs) != 1 || !strings.Contains(errs[0].Error(), test.want):
				t.Errorf("got %v; want one with %q", errs, test.want)
			case !strings.Contains(errs[0].Error(), test.file+" imports "+strings.Trim(strings.TrimLeft(test.spec, "_tp "), `"`)):
				t.Errorf("%v names not both file and import", errs[0])
			}
		})
	}
}

func TestJudgeBuilt(t *testing.T) {
	for _, test := range []struct{ name, dir, pkg, module, want string }{
		{"std", "core", "fmt", "", ""},
		{"itself", "core", house + "core/socket", house + "core", ""},
		{"core, foreign", "core", "example.com/a", "example.com/a", "core is built from example.com/a"},
		{"required", "xfers/gzip", house + "core/xfer", house + "core", ""},
		{"required by way of another", "mixers/standard", house + "core/xfer", house + "core", ""},
		{"foreign", "xfers/gzip", "example.com/a", "example.com/a", ""},
		{"sibling", "xfers/gzip", house + "protos/rawproto", house + "protos/rawproto", "does not require"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out := fmt.Sprintf(`{"ImportPath":%q,"Module":{"Path":%q}}`, test.pkg, test.module)
			if test.module == "" {
				out = fmt.Sprintf(`{"ImportPath":%q,"Standard":true}`, test.pkg)
			}
			r := load(t, small())
			errs := r.judgeBuilt(r.get(test.dir), strings.NewReader(out))
			switch {
			case test.want == "" && len(errs) > 0:
				t.Errorf("got %v; want none", errs)
			case test.want != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), test.want)):
				t.Errorf("got %v; want one with %q", errs, test.want)
			}
		})
	}
	t.Run("package that does not load", func(t *testing.T) {
		r := load(t, small())
		errs := r.judgeBuilt(r.get("core"), strings.NewReader(`{"ImportPath":"x","Error":{"Err":"gone"}}`))
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), "x: gone") {
			t.Errorf("got %v; want one with the words of go list", errs)
		}
	})
}
