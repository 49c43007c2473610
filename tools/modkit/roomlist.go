package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// roomsFile is the list, in the directory of the tree it describes.
const roomsFile = "rooms.txt"

// roomList is the declared order of a module: packages, and the files of each. Each
// may use what is above it.
type roomList []*roomPackage

// roomPackage is a package of the list.
type roomPackage struct {
	dir   string // from the module's, with slashes; "." is the module's own
	max   int    // how many uses may run back up
	files []string
}

// place returns the position of a package in the order, -1 if it is not listed.
func (l roomList) place(dir string) int {
	return slices.IndexFunc(l, func(p *roomPackage) bool { return p.dir == dir })
}

// parseRooms reads a list: for each package a line "package DIR" or "package DIR
// max N", and a line for each of its files. A # begins a comment.
func parseRooms(r io.Reader) (roomList, error) {
	var l roomList
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		f := strings.Fields(text)
		switch {
		case len(f) == 0:
		case f[0] == "package" && (len(f) == 2 || len(f) == 4 && f[2] == "max"):
			p := &roomPackage{dir: f[1]}
			if l.place(p.dir) >= 0 {
				return nil, fmt.Errorf("line %d: package %s is listed twice", n, p.dir)
			}
			if len(f) == 4 {
				max, err := strconv.ParseUint(f[3], 10, 31)
				if err != nil {
					return nil, fmt.Errorf("line %d: max %s: want a number", n, f[3])
				}
				p.max = int(max)
			}
			l = append(l, p)
		case len(f) == 1 && strings.HasSuffix(f[0], ".go") && len(l) > 0:
			p := l[len(l)-1]
			if slices.Contains(p.files, f[0]) {
				return nil, fmt.Errorf("line %d: %s is listed twice", n, path.Join(p.dir, f[0]))
			}
			p.files = append(p.files, f[0])
		default:
			return nil, fmt.Errorf("line %d: %q: want package DIR, package DIR max N, or a file of the package above", n, strings.TrimSpace(text))
		}
	}
	return l, lines.Err()
}

// loadRooms reads the list of the module in tree, and fails where the list and the files on
// disk disagree.
func loadRooms(tree string) (roomList, error) {
	f, err := os.Open(filepath.Join(tree, roomsFile))
	if err != nil {
		return nil, fmt.Errorf("modkit: %w", err)
	}
	defer f.Close()
	l, err := parseRooms(f)
	if err != nil {
		return nil, fmt.Errorf("modkit: %s: %w", f.Name(), err)
	}
	disk, err := sources(tree)
	if err != nil {
		return nil, err
	}
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("modkit: %s: %s", f.Name(), fmt.Sprintf(format, args...)))
	}
	for dir, names := range disk {
		i := l.place(dir)
		if i < 0 {
			bad("package %s is not listed", dir)
			continue
		}
		for _, name := range names {
			if !slices.Contains(l[i].files, name) {
				bad("%s is not listed; put it below the files it uses and above those that use it", path.Join(dir, name))
			}
		}
	}
	for _, p := range l {
		if len(disk[p.dir]) == 0 {
			bad("package %s has no Go files", p.dir)
			continue
		}
		for _, name := range p.files {
			if !slices.Contains(disk[p.dir], name) {
				bad("%s does not exist", path.Join(p.dir, name))
			}
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return l, errors.Join(errs...)
}

// sources returns the names of a module's Go files outside tests, by directory.
func sources(tree string) (map[string][]string, error) {
	found := map[string][]string{}
	err := walkGo(tree, func(file string) error {
		rel, err := filepath.Rel(tree, file)
		if err != nil || strings.HasSuffix(file, "_test.go") {
			return err
		}
		dir, name := path.Split(filepath.ToSlash(rel))
		dir = path.Clean(dir)
		found[dir] = append(found[dir], name)
		return nil
	})
	return found, err
}
