package outproc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// LoadAll loads the guests of a YAML file, in its order, and returns their Handles:
//
//	guests:
//	  - path: guests/md5guest # relative to the file
//	  - path: guests/cborguest
//	    name: cborguest
//	    replicas: 2
//	    timeout: 500ms
//	  - connect: unix:///run/audit.sock
//	    optional: true
//
// The keys are the fields of [Guest]: path, connect, token, name, sha256, args, env,
// config, optional, replicas, max_rss, timeout, start_timeout, max_item, max_in_flight,
// lock. If a file [LockName] is next to the list, it is the Lock of the guests that have
// none.
//
// If a guest that is not optional cannot be loaded, those before it are closed, and the
// error says which one it was.
func LoadAll(ctx context.Context, file string) ([]*Handle, error) {
	guests, err := ReadGuests(file)
	if err != nil {
		return nil, err
	}
	var handles []*Handle
	for _, g := range guests {
		h, err := Load(ctx, g)
		if err != nil {
			for _, h := range slices.Backward(handles) {
				h.Close()
			}
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		handles = append(handles, h)
	}
	return handles, nil
}

// ReadGuests returns the guests of a file as LoadAll loads them, and loads none.
func ReadGuests(file string) ([]Guest, error) {
	guests, err := readGuests(file)
	if err != nil {
		return nil, fmt.Errorf("outproc: %w", err)
	}
	return guests, nil
}

func readGuests(file string) ([]Guest, error) {
	text, err := readConfigFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the list of guests: %w", err)
	}
	guests, err := parseGuests(file, text)
	if err != nil {
		return nil, err
	}
	full, err := filepath.Abs(file) // the program may change its directory before a Reload
	if err != nil {
		return nil, err
	}
	lock := lockBeside(full)
	if _, err := os.Stat(lock); errors.Is(err, fs.ErrNotExist) {
		lock = ""
	}
	for i := range guests {
		g := &guests[i]
		for _, path := range []*string{&g.Path, &g.Lock} {
			if *path != "" && !filepath.IsAbs(*path) {
				*path = filepath.Join(filepath.Dir(full), *path)
			}
		}
		if g.Connect != "" {
			continue
		}
		if g.Lock == "" {
			g.Lock = lock
		}
		if g.Lock == lockBeside(full) {
			g.from = file
		}
	}
	return guests, nil
}

// parseGuests reads the list. Its errors begin with file and line.
func parseGuests(file string, text []byte) ([]Guest, error) {
	at := func(n *yaml.Node, format string, args ...any) error {
		return fmt.Errorf("%s:%d: %w", file, n.Line, fmt.Errorf(format, args...))
	}
	var doc yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&doc); err != nil && err != io.EOF {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if doc.Kind == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: it has no list of guests; it begins with guests: and has lines like - path: md5guest", file)
	}
	if d.Decode(new(yaml.Node)) != io.EOF {
		return nil, fmt.Errorf("%s: there is text behind its first document: put all guests into one list", file)
	}
	var list *yaml.Node
	err := eachKey(doc.Content[0], at, func(key, value *yaml.Node) error {
		if key.Value != "guests" {
			return at(key, "unknown key %q: the only one outside the list is guests", key.Value)
		}
		list = value
		return nil
	})
	if err != nil {
		return nil, err
	}
	if list == nil || list.Kind != yaml.SequenceNode {
		return nil, at(doc.Content[0], "guests is not a list, with lines like - path: md5guest")
	}
	guests := make([]Guest, len(list.Content))
	for i, n := range list.Content {
		g, n := &guests[i], target(n)
		if n.Kind != yaml.MappingNode {
			return nil, at(n, "guest %d is not a mapping like path: md5guest", i+1)
		}
		keys := g.keys()
		err := eachKey(n, at, func(key, value *yaml.Node) error {
			field, ok := keys[key.Value]
			if !ok {
				return at(key, "guest %d: unknown key %q; the keys are %s", i+1, key.Value, guestKeys())
			}
			if value.Tag == "!!null" {
				return at(key, "guest %d: %s has no value", i+1, key.Value)
			}
			if err := value.Decode(field); err != nil {
				return at(key, "guest %d: %s: %w", i+1, key.Value, plain(err))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(g.Connect, "tcp+tls:") {
			return nil, at(n, "guest %d: %s needs Guest.TLS, which the file cannot give: Load this guest in the program", i+1, g.Connect)
		}
		checked := *g
		if err := checked.check(); err != nil {
			return nil, at(n, "guest %d: %w", i+1, err)
		}
	}
	return guests, nil
}

// keys returns the fields of g by their keys in the file.
func (g *Guest) keys() map[string]any {
	return map[string]any{
		"path": &g.Path, "connect": &g.Connect, "token": &g.Token, "name": &g.Name, "sha256": &g.SHA256,
		"args": &g.Args, "env": &g.Env, "config": &g.Config, "optional": &g.Optional, "replicas": &g.Replicas,
		"max_rss": &g.MaxRSS, "timeout": &g.Timeout, "start_timeout": &g.StartTimeout,
		"max_item": &g.MaxItem, "max_in_flight": &g.MaxInFlight, "lock": &g.Lock,
	}
}

func guestKeys() string {
	var list []string
	for key := range new(Guest).keys() {
		list = append(list, key)
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// eachKey calls f for the keys of a mapping; one that is there twice is an error.
func eachKey(m *yaml.Node, at func(*yaml.Node, string, ...any) error, f func(key, value *yaml.Node) error) error {
	lines := make(map[string]int)
	for i := 0; i+1 < len(m.Content); i += 2 {
		key := m.Content[i]
		if line, ok := lines[key.Value]; ok {
			return at(key, "key %q is there already, in line %d", key.Value, line)
		}
		lines[key.Value] = key.Line
		if err := f(key, target(m.Content[i+1])); err != nil {
			return err
		}
	}
	return nil
}

// target returns the node that an alias stands for.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// plain is an error of Decode without the lines, which the caller says.
func plain(err error) error {
	var bad *yaml.TypeError
	if !errors.As(err, &bad) {
		return err
	}
	var list []string
	for _, text := range bad.Errors {
		if _, after, ok := strings.Cut(text, ": "); ok && strings.HasPrefix(text, "line ") {
			text = after
		}
		list = append(list, text)
	}
	return errors.New(strings.Join(list, "; "))
}
