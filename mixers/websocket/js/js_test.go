package js_test

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/mixers/websocket/js"
)

// TestImports checks that each module that a module imports, or takes types from, is there
// too: a browser finds it beside the other one.
func TestImports(t *testing.T) {
	from := regexp.MustCompile(`(?m)^(?:import|export) .*from "(.*)";$`)
	modules, err := fs.Glob(js.FS, "*.*")
	if err != nil || len(modules) == 0 {
		t.Fatalf("%d modules, %v", len(modules), err)
	}
	for _, name := range modules {
		text, err := fs.ReadFile(js.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range from.FindAllStringSubmatch(string(text), -1) {
			imported, ok := strings.CutPrefix(match[1], "./")
			if _, err := fs.Stat(js.FS, imported); !ok || err != nil {
				t.Errorf("%s imports %q: %v", name, match[1], err)
			}
		}
		if ext := path.Ext(name); ext != ".js" && ext != ".ts" {
			t.Errorf("%s is neither a module nor types", name)
		}
	}
}

// TestContentType checks what browsers insist on: a module must be served as JavaScript.
func TestContentType(t *testing.T) {
	rec := httptest.NewRecorder()
	http.FileServerFS(js.FS).ServeHTTP(rec, httptest.NewRequest("GET", "/teleport.js", nil))
	if got := rec.Header().Get("Content-Type"); rec.Code != 200 || !strings.HasPrefix(got, "text/javascript") {
		t.Errorf("status %d, Content-Type %q; want 200, text/javascript", rec.Code, got)
	}
}

func ExampleFS() {
	mux := http.NewServeMux()
	mux.Handle("/teleport/", http.StripPrefix("/teleport/", http.FileServerFS(js.FS)))

	rec := httptest.NewRecorder()
	mux.ServeHTTP(rec, httptest.NewRequest("GET", "/teleport/teleport.js", nil))
	fmt.Println(rec.Code, rec.Header().Get("Content-Type"))
	// Output: 200 text/javascript; charset=utf-8
}
