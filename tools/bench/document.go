package main

import (
	"bufio"
	"cmp"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// document is the result of a run, and the format of -json. Durations are in
// nanoseconds, sizes in bytes.
type document struct {
	Version    int // of the format: 1
	Started    time.Time
	Took       time.Duration
	Command    []string
	Machine    machine
	Rounds     int
	Window     time.Duration // length requested
	Gate       bool
	Busy       int    `json:",omitempty"` // busy processes a CPU
	Against    string `json:",omitempty"` // the commit of the side before
	Candidates []described
	Windows    []window
	Idle       []idle `json:",omitempty"`
	Skipped    int    `json:",omitempty"` // windows left out for lack of time
	Phases     map[string]int

	cells map[cellKey]cell
}

// machine describes where a run took place.
type machine struct {
	Go, OS, Arch string
	Kernel       string `json:",omitempty"`
	CPU          string `json:",omitempty"` // the processor's name
	Model        string `json:",omitempty"` // which of that name it is
	CPUs         int
	Memory       uint64 `json:",omitempty"`
}

// described is a candidate with the modules of its program.
type described struct {
	Name, Note string
	Error      string            `json:",omitempty"` // why it has no program
	Modules    map[string]string `json:",omitempty"` // version by path
}

func thisMachine() machine {
	m := machine{Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(b))
	}
	m.CPU = procField("/proc/cpuinfo", "model name")
	var model []string
	for _, field := range []struct{ name, unit string }{{"cpu family", "family %s"}, {"model", "model %s"}, {"stepping", "stepping %s"}} {
		if v := procField("/proc/cpuinfo", field.name); v != "" {
			model = append(model, fmt.Sprintf(field.unit, v))
		}
	}
	m.Model = strings.Join(model, " ")
	var kib uint64
	for _, c := range procField("/proc/meminfo", "MemTotal") {
		if c < '0' || c > '9' {
			break
		}
		kib = kib*10 + uint64(c-'0')
	}
	m.Memory = kib << 10
	return m
}

// processor returns the name of the processor; its architecture if that is not known.
func (m machine) processor() string { return cmp.Or(m.CPU, m.Arch) }

// slug returns the processor's name in a form for folders: "intel-xeon-cpu-2-50ghz"
// for "Intel(R) Xeon(R) CPU @ 2.50GHz".
func (m machine) slug() string {
	name := strings.NewReplacer("(r)", "", "(tm)", "").Replace(strings.ToLower(m.processor()))
	words := strings.FieldsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	return cmp.Or(strings.Join(words, "-"), "unknown")
}

// folder returns the name of the report's folder. Each processor has one, and
// another for each load beside the measurement.
func (d *document) folder() string {
	if d.Busy > 0 {
		return fmt.Sprintf("%s-busy-%d", d.Machine.slug(), d.Busy)
	}
	return d.Machine.slug()
}

// procField returns the value of the first line "name : value" in a file of /proc;
// "" if there is none.
func procField(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		if key, value, ok := strings.Cut(in.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func describe(list []candidate) (all []described) {
	for _, c := range list {
		d := described{Name: c.name, Note: c.note, Modules: modulesOf(c.program)}
		if c.err != nil {
			d.Error = c.err.Error()
		}
		all = append(all, d)
	}
	return all
}

// modulesOf returns the versions of the modules in a program; "" is this program.
func modulesOf(program string) map[string]string {
	if program == "" {
		var err error
		if program, err = os.Executable(); err != nil {
			return nil
		}
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil
	}
	m := map[string]string{"go": info.GoVersion}
	for _, d := range info.Deps {
		version := d.Version
		if d.Replace != nil && d.Replace.Version != "" {
			version = d.Replace.Version
		}
		m[d.Path] = version
	}
	return m
}

// peerModules are the modules of the peers' frameworks, by the prefix of a
// candidate's name.
var peerModules = []struct{ prefix, path string }{
	{"arpc", "github.com/lesismal/arpc"},
	{"erpc", "github.com/andeya/erpc/v7"},
	{"rpcx", "github.com/smallnest/rpcx"},
	{"grpc", "google.golang.org/grpc"},
	{"kitex", "github.com/cloudwego/kitex"},
	{"drpc", "storj.io/drpc"},
	{"connect", "connectrpc.com/connect"},
	{"nats", "github.com/nats-io/nats.go"},
	{"net-rpc", "go"},
}

// version returns the framework's module and version; "" if that is not known.
func (d described) version() string {
	for _, p := range peerModules {
		if v := d.Modules[p.path]; v != "" && strings.HasPrefix(d.Name, p.prefix) {
			return p.path + " " + v
		}
	}
	return ""
}

// classify names the phases, drops the windows that the gate rejects, and sorts
// the windows into cells.
func (d *document) classify() {
	var phases []*phase
	for i := range d.Windows {
		if d.Windows[i].Error == "" {
			phases = append(phases, &d.Windows[i].Phase)
		}
	}
	namePhases(phases)
	d.Phases = map[string]int{}
	for i := range d.Windows {
		w := &d.Windows[i]
		if w.Error != "" {
			continue
		}
		d.Phases[w.Phase.Name]++
		w.Dropped = d.Gate && w.Phase.Name == "changed"
	}
	d.cells = cells(d.Windows)
}

func (d *document) write(file string) error {
	b, err := json.MarshalIndent(d, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}
