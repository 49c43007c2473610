package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
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

// loadRooms reads the list of the module in a directory from the root. An error
// about a difference between the list and the directory comes with a list that has
// what is on disk: files and packages that are not listed are last.
func loadRooms(root, tree string) (roomList, error) {
	name := path.Join(tree, roomsFile)
	f, err := os.Open(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		return nil, fmt.Errorf("modkit: %w", err)
	}
	defer f.Close()
	l, err := parseRooms(f)
	if err != nil {
		return nil, fmt.Errorf("modkit: %s: %w", name, err)
	}
	disk, err := sources(filepath.Join(root, filepath.FromSlash(tree)))
	if err != nil {
		return nil, err
	}
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("modkit: %s: %s", name, fmt.Sprintf(format, args...)))
	}
	l = slices.DeleteFunc(l, func(p *roomPackage) bool {
		if len(disk[p.dir]) == 0 {
			bad("package %s has no Go files", p.dir)
			return true
		}
		p.files = slices.DeleteFunc(p.files, func(file string) bool {
			gone := !slices.Contains(disk[p.dir], file)
			if gone {
				bad("%s does not exist", path.Join(p.dir, file))
			}
			return gone
		})
		return false
	})
	for _, dir := range slices.Sorted(maps.Keys(disk)) {
		if l.place(dir) < 0 {
			bad("package %s is not listed; put it below the packages it imports", dir)
			l = append(l, &roomPackage{dir: dir, files: disk[dir]})
		}
		p := l[l.place(dir)]
		for _, file := range disk[dir] {
			if !slices.Contains(p.files, file) {
				bad("%s is not listed; put it below the files it uses", path.Join(dir, file))
				p.files = append(p.files, file)
			}
		}
	}
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
