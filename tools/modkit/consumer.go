package main

import (
	"bufio"
	"errors"
	"fmt"
	"go/format"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/modfile"
)

const goldenFile = "ci/consumer.golden"

type consumerCmd struct {
	Update  bool     `help:"Write what is found to ci/consumer.golden."`
	Modules []string `arg:"" optional:"" name:"module" help:"Directories of the modules; all released ones by default."`
}

func (c *consumerCmd) Run(e *env) error {
	r, err := loadRepo(e.root)
	if err != nil {
		return err
	}
	version, err := r.version()
	if err != nil {
		return err
	}
	want, err := r.readGolden()
	if err != nil {
		return err
	}
	modules, err := r.choose(c.Modules, r.released())
	if err != nil {
		return err
	}
	got := golden{toolchain: toolchain(), costs: map[string]cost{}}
	err = r.consume(e.out, modules, version, &got)
	if c.Update && err == nil {
		if len(c.Modules) > 0 { // the others stay as they are
			for dir, cost := range want.costs {
				if _, ok := got.costs[dir]; !ok && r.get(dir) != nil {
					got.costs[dir] = cost
				}
			}
		}
		return os.WriteFile(filepath.Join(r.root, goldenFile), got.format(r), 0o644)
	}
	return errors.Join(err, compareGolden(r, modules, want, got))
}

// cost is what a go get of a module pulls in, and what a program with it weighs.
type cost struct {
	goLine string
	size   string   // of the stripped hello-world, "2.1 MB"
	pulls  []string // siblings by directory, others as path and version; sorted
}

// golden is the content of ci/consumer.golden.
type golden struct {
	toolchain string // "go1.26 linux/amd64": the sizes are of this one
	costs     map[string]cost
}

// toolchain is the Go release that the sizes depend on, without its patch number.
func toolchain() string {
	v, _, _ := strings.Cut(runtime.Version(), " ")
	if f := strings.SplitN(v, ".", 3); len(f) == 3 {
		v = f[0] + "." + f[1]
	}
	return v + " linux/amd64"
}

// consume gets, builds and vets each module as a new user would.
func (r *repo) consume(out io.Writer, modules []*module, version string, got *golden) error {
	return withOutside(func(ours, tmp string, environ []string) error {
		if err := r.writeProxy(ours, version); err != nil {
			return err
		}
		costs := make([]cost, len(modules))
		err := atOnce(modules, func(m *module) (err error) {
			costs[slices.Index(modules, m)], err = consumeOne(m, version, filepath.Join(tmp, m.Dir), environ)
			return err
		})
		for i, m := range modules {
			if costs[i].size != "" {
				got.costs[m.Dir] = costs[i]
				fmt.Fprintf(out, "%-20s go %-7s %8s  %d modules\n", m.Dir, costs[i].goLine, costs[i].size, len(costs[i].pulls))
			}
		}
		return err
	})
}

func consumeOne(m *module, version, dir string, environ []string) (cost, error) {
	// The target is fixed, so that the size is the same everywhere.
	environ = append(slices.Clone(environ), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return cost{}, err
	}
	src, err := format.Source([]byte(helloWorld(m)))
	if err != nil {
		return cost{}, err
	}
	for name, data := range map[string]string{
		"go.mod":  "module example.com/consumer\n\ngo " + m.Mod.Go.Version + "\n",
		"main.go": string(src),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			return cost{}, err
		}
	}
	var graph string
	for _, args := range [][]string{
		{"get", m.path() + "@" + version},
		{"build", "-buildvcs=false", "-ldflags=-s -w", "-o", "hello", "."},
		{"vet", "."},
		{"build", m.path() + "/..."}, // and its packages that the program does not import
		{"mod", "graph"},
	} {
		if graph, err = run(dir, environ, "go", args...); err != nil {
			return cost{}, fmt.Errorf("modkit: consumer of %s: %w", m.Dir, err)
		}
	}
	bin, err := os.Stat(filepath.Join(dir, "hello"))
	if err != nil {
		return cost{}, err
	}
	data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return cost{}, err
	}
	mod, err := modfile.ParseLax("go.mod", data, nil)
	if err != nil {
		return cost{}, err
	}
	return cost{
		goLine: mod.Go.Version,
		size:   megabytes(bin.Size()),
		pulls:  pulledIn(graph),
	}, nil
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// slack is by how many megabytes a program may differ from the size in the golden
// file. Any change of core changes all programs by some kilobytes, which moves a
// few of them over the edge of a rounding.
const slack = 0.2

func near(a, b string) bool {
	x, errX := strconv.ParseFloat(strings.TrimSuffix(a, " MB"), 64)
	y, errY := strconv.ParseFloat(strings.TrimSuffix(b, " MB"), 64)
	return errX == nil && errY == nil && math.Abs(x-y) < slack+0.01
}

// helloWorld returns a program with the module and a peer that listens and dials. From
// less, the linker would drop most of core, and the sizes would mean nothing.
func helloWorld(m *module) string {
	line := "\t_ \"" + m.path() + "\"\n"
	if m.Dir == "core" {
		line = ""
	}
	return "package main\n\nimport (\n\ttp \"" + prefix + "core\"\n" + line + `)

func main() {
	peer := tp.NewPeer(tp.PeerConfig{})
	peer.Listen()
	peer.Dial(peer.Addrs()[0].String())
	peer.Close()
}
`
}

// pulledIn returns the modules in the output of go mod graph, each at its highest
// version, without the consumer itself and the go command's own nodes.
func pulledIn(graph string) []string {
	best := map[string]string{}
	for line := range strings.Lines(graph) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		path, version, ok := strings.Cut(f[1], "@")
		if !ok || path == "go" || path == "toolchain" {
			continue
		}
		best[path] = higher(best[path], version)
	}
	var all []string
	for path, version := range best {
		if dir, ok := strings.CutPrefix(path, prefix); ok {
			all = append(all, dir) // without its version, which changes at each release
		} else {
			all = append(all, path+" "+version)
		}
	}
	slices.Sort(all)
	return all
}

func (r *repo) readGolden() (golden, error) {
	data, err := readIfThere(filepath.Join(r.root, goldenFile))
	if err != nil {
		return golden{}, err
	}
	g, err := parseGolden(strings.NewReader(string(data)))
	if err != nil {
		return g, fmt.Errorf("modkit: %s: %w", goldenFile, err)
	}
	return g, nil
}

func parseGolden(r io.Reader) (golden, error) {
	g := golden{costs: map[string]cost{}}
	at := ""
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		c := g.costs[at]
		switch {
		case rest == "" || at == "" && word != "toolchain" && word != "module":
			return g, fmt.Errorf("line %d: %q is not expected here", n, line)
		case word == "toolchain":
			g.toolchain = rest
			continue
		case word == "module":
			at, c = rest, cost{}
		case word == "go":
			c.goLine = rest
		case word == "size":
			c.size = rest
		case word == "pulls" && strings.HasPrefix(rest, "in "):
			c.pulls = append(c.pulls, strings.TrimPrefix(rest, "in "))
		default:
			return g, fmt.Errorf("line %d: %q is not expected here", n, line)
		}
		g.costs[at] = c
	}
	return g, lines.Err()
}

func (g golden) format(r *repo) []byte {
	var b strings.Builder
	b.WriteString("# What a go get of each released module pulls in, and the size of a stripped program\n# that has a peer and the module. Written by ci/consumer.sh -update, so that growth is\n# seen in review.\n\n")
	fmt.Fprintf(&b, "toolchain %s\n", g.toolchain)
	for _, m := range r.released() {
		if c, ok := g.costs[m.Dir]; ok {
			fmt.Fprintf(&b, "\n%s", c.format(m.Dir))
		}
	}
	return []byte(b.String())
}

func (c cost) format(dir string) string {
	s := fmt.Sprintf("module %s\ngo %s\nsize %s\n", dir, c.goLine, c.size)
	for _, p := range c.pulls {
		s += "pulls in " + p + "\n"
	}
	return s
}

// compareGolden fails where a module pulls in something else than ci/consumer.golden
// has, or where the size of its program differs by more than slack.
func compareGolden(r *repo, modules []*module, want, got golden) error {
	var errs []error
	for _, m := range modules {
		g, ok := got.costs[m.Dir]
		if !ok {
			continue // consume has reported its failure
		}
		w, ok := want.costs[m.Dir]
		if ok && (want.toolchain != got.toolchain || near(w.size, g.size)) {
			g.size = w.size // another compiler makes other sizes
		}
		wants, gots := w.format(m.Dir), g.format(m.Dir)
		if !ok {
			wants = ""
		}
		if wants != gots {
			errs = append(errs, fmt.Errorf("modkit: a go get of %s does not pull in what %s has; if the change is intended: ci/consumer.sh -update\n%s", m.Dir, goldenFile, diff(wants, gots)))
		}
	}
	for dir := range want.costs {
		if m := r.get(dir); m == nil || m.Kind != released {
			errs = append(errs, fmt.Errorf("modkit: %s has %s, which is not released", goldenFile, dir))
		}
	}
	return errors.Join(errs...)
}
