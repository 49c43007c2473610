package main

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/tools/go/packages"
)

type roomsCmd struct {
	Tree    string `arg:"" optional:"" default:"core" help:"Directory of a module with a rooms.txt, from the root of the repository."`
	Verbose bool   `short:"v" help:"List the uses that run back up, each at its first place."`
	Names   bool   `help:"List the names that each file defines and uses."`
	Propose bool   `help:"Print for each package an order of its files in which fewer uses run back up, if moving single files finds one."`
	Max     int    `default:"-1" help:"Fail if more uses run back up in all; by default each package has its number in rooms.txt."`
}

// Help says what is counted.
func (c *roomsCmd) Help() string {
	return `rooms.txt lists the packages of a module, and the files of each package, in an order in which each may use
what is above it. A use is a distinct triple: file A uses a name that file B of the same package declares.
Names are package-level constants, variables, types and functions, and methods of concrete types (as Type.Method,
also where they are promoted); fields and methods of interfaces count as their type, so only where its name is
written. A use runs back up if B is below A in the list. Test files do not count, nor do those that are not built
on linux/amd64, but the list must have the latter.

The command fails if in a package more uses run back up than the line "package DIR max N" allows (0 without max), if
a package imports one below it (whatever the number), and if the list and the directory disagree.`
}

func (c *roomsCmd) Run(e *env) error {
	tree := filepath.Join(e.root, filepath.FromSlash(c.Tree))
	list, differs := loadRooms(e.root, c.Tree)
	if differs != nil && (list == nil || !c.Propose) {
		return differs
	}
	pkgs, err := loadTree(tree)
	if err != nil {
		return err
	}
	errs := []error{differs}
	up, all := 0, 0
	for _, p := range list {
		pkg := pkgs[p.dir]
		if pkg == nil {
			continue // no file of it is built on linux/amd64
		}
		errs = append(errs, list.upwardImports(p.dir, pkg, pkgs)...)
		s := survey(pkg)
		s.order = p.files
		dir, n := path.Join(c.Tree, p.dir), len(s.upward())
		c.print(e.out, dir, s)
		all += len(s.uses)
		up += n
		switch {
		case c.Max < 0 && n > p.max:
			errs = append(errs, fmt.Errorf("modkit: %s: %d uses run back up, more than the %d of %s; list them: go run ./tools/modkit rooms %s -v",
				dir, n, p.max, path.Join(c.Tree, roomsFile), c.Tree))
		case c.Max < 0 && n < p.max:
			fmt.Fprintf(e.out, "%s can say: package %s max %d\n", path.Join(c.Tree, roomsFile), p.dir, n)
		}
	}
	fmt.Fprintf(e.out, "\n%s: %d of %d uses run back up\n", c.Tree, up, all)
	if c.Max >= 0 && up > c.Max {
		errs = append(errs, fmt.Errorf("modkit: %s: %d uses run back up, more than %d", c.Tree, up, c.Max))
	}
	return errors.Join(errs...)
}

// loadTree type-checks the packages of a module, without tests, by directory.
// What they import outside the module comes from the build cache.
func loadTree(tree string) (map[string]*packages.Package, error) {
	loaded, err := packages.Load(&packages.Config{
		Dir: tree,
		Env: append(os.Environ(), "GOOS=linux", "GOARCH=amd64"),
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedImports | packages.NeedExportFile |
			packages.NeedTypes | packages.NeedSyntax | packages.NeedTypesInfo,
	}, "./...")
	if err != nil {
		return nil, fmt.Errorf("modkit: %w", err)
	}
	pkgs := map[string]*packages.Package{}
	var errs []error
	for _, p := range loaded {
		for _, err := range p.Errors {
			errs = append(errs, fmt.Errorf("modkit: %s: %w", p.PkgPath, err))
		}
		if len(p.GoFiles) == 0 {
			continue
		}
		dir, err := filepath.Rel(tree, filepath.Dir(p.GoFiles[0]))
		if err != nil {
			return nil, err
		}
		pkgs[filepath.ToSlash(dir)] = p
	}
	return pkgs, errors.Join(errs...)
}

// upwardImports returns an error for each import of a package of the tree that
// is below the importing one in the list.
func (l roomList) upwardImports(dir string, pkg *packages.Package, pkgs map[string]*packages.Package) []error {
	var errs []error
	for _, to := range slices.Sorted(maps.Keys(pkgs)) {
		if pkg.Imports[pkgs[to].PkgPath] != nil && l.place(to) > l.place(dir) {
			errs = append(errs, fmt.Errorf("modkit: package %s imports %s, which is below it in %s", pkg.PkgPath, pkgs[to].PkgPath, roomsFile))
		}
	}
	return errs
}

// use says that a file uses a name that another file of its package declares.
type use struct{ from, to, name string }

// rooms are the files of a package and what they use of each other.
type rooms struct {
	order   []string // as declared; all of uses and defines are in it
	defines map[string][]string
	uses    map[use]token.Position // the first use
}

// survey collects what the files of a type-checked package define and use.
func survey(pkg *packages.Package) *rooms {
	s := &rooms{defines: map[string][]string{}, uses: map[use]token.Position{}}
	base := func(pos token.Pos) string { return filepath.Base(pkg.Fset.Position(pos).Filename) }
	names := map[types.Object]string{}
	for _, f := range pkg.Syntax {
		for _, id := range declared(f) {
			if obj := pkg.TypesInfo.Defs[id]; obj != nil && id.Name != "_" {
				names[obj] = qualified(obj)
				s.defines[base(id.Pos())] = append(s.defines[base(id.Pos())], names[obj])
			}
		}
	}
	for id, obj := range pkg.TypesInfo.Uses {
		obj = origin(obj)
		name, ok := names[obj]
		u := use{base(id.Pos()), base(obj.Pos()), name}
		if !ok || u.from == u.to {
			continue
		}
		at := pkg.Fset.Position(id.Pos())
		if first, ok := s.uses[u]; !ok || at.Offset < first.Offset {
			s.uses[u] = at
		}
	}
	return s
}

// declared returns the identifiers that a file declares at package level,
// methods included.
func declared(f *ast.File) []*ast.Ident {
	var ids []*ast.Ident
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			ids = append(ids, d.Name)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					ids = append(ids, spec.Name)
				case *ast.ValueSpec:
					ids = append(ids, spec.Names...)
				}
			}
		}
	}
	return ids
}

// origin returns the declared object of an instantiated one.
func origin(obj types.Object) types.Object {
	switch o := obj.(type) {
	case *types.Func:
		return o.Origin()
	case *types.Var:
		return o.Origin()
	}
	return obj
}

// qualified is the name of an object, as Type.Method for a method.
func qualified(obj types.Object) string {
	f, ok := obj.(*types.Func)
	if !ok || f.Signature().Recv() == nil {
		return obj.Name()
	}
	recv := f.Signature().Recv().Type()
	if p, ok := recv.(*types.Pointer); ok {
		recv = p.Elem()
	}
	if n, ok := types.Unalias(recv).(*types.Named); ok {
		return n.Obj().Name() + "." + f.Name()
	}
	return f.Name()
}

// sorted returns the uses in the order of the list: by user, then used file, then name.
func (s *rooms) sorted() []use {
	return slices.SortedFunc(maps.Keys(s.uses), func(a, b use) int {
		return cmp.Or(
			cmp.Compare(slices.Index(s.order, a.from), slices.Index(s.order, b.from)),
			cmp.Compare(slices.Index(s.order, a.to), slices.Index(s.order, b.to)),
			strings.Compare(a.name, b.name))
	})
}

// upward returns the uses of a file that is below the using one in the list.
func (s *rooms) upward() []use {
	return slices.DeleteFunc(s.sorted(), func(u use) bool {
		return slices.Index(s.order, u.to) <= slices.Index(s.order, u.from)
	})
}

// propose returns the order after moving one file at a time to where the fewest
// uses run back up, until no move helps.
func propose(order []string, uses map[use]token.Position) []string {
	best, least := slices.Clone(order), countUpward(order, uses)
	for improved := true; improved; {
		improved = false
		for _, f := range order {
			for to := range order {
				moved := slices.DeleteFunc(slices.Clone(best), func(g string) bool { return g == f })
				moved = slices.Insert(moved, to, f)
				if n := countUpward(moved, uses); n < least {
					best, least, improved = moved, n, true
				}
			}
		}
	}
	return best
}

// countUpward returns how many uses run back up in an order.
func countUpward(order []string, uses map[use]token.Position) int {
	place := map[string]int{}
	for i, f := range order {
		place[f] = i
	}
	n := 0
	for u := range uses {
		if place[u.to] > place[u.from] {
			n++
		}
	}
	return n
}

// print writes the files of a package with the number of names each defines and
// uses, and what the flags ask for besides.
func (c *roomsCmd) print(out io.Writer, dir string, s *rooms) {
	up := s.upward()
	uses, back := map[string]int{}, map[string]int{}
	for u := range s.uses {
		uses[u.from]++
	}
	for _, u := range up {
		back[u.from]++
	}
	fmt.Fprintf(out, "\n%s: %d of %d run back up\n", dir, len(up), len(s.uses))
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "defines\tuses\tback up\t\t\n")
	for _, f := range s.order {
		fmt.Fprintf(table, "%d\t%d\t%d\t\t%s\n", len(s.defines[f]), uses[f], back[f], f)
	}
	table.Flush()
	if c.Names {
		s.printNames(out, dir)
	}
	if order := propose(s.order, s.uses); c.Propose && !slices.Equal(order, s.order) {
		fmt.Fprintf(out, "package %s # %d run back up instead of %d\n%s\n", dir, countUpward(order, s.uses), len(up), strings.Join(order, "\n"))
	}
	if c.Verbose {
		for _, u := range up {
			fmt.Fprintf(out, "%s:%d uses %s of %s\n", path.Join(dir, u.from), s.uses[u].Line, u.name, u.to)
		}
	}
}

// printNames writes the names that each file defines, and those it uses of each
// other file.
func (s *rooms) printNames(out io.Writer, dir string) {
	sorted := s.sorted()
	for _, f := range s.order {
		fmt.Fprintf(out, "%s defines %s\n", path.Join(dir, f), strings.Join(slices.Sorted(slices.Values(s.defines[f])), " "))
		var used []string
		for i, u := range sorted {
			if u.from != f {
				continue
			}
			used = append(used, u.name)
			if next := i + 1; next == len(sorted) || sorted[next].from != f || sorted[next].to != u.to {
				fmt.Fprintf(out, "%s uses of %s: %s\n", path.Join(dir, f), u.to, strings.Join(used, " "))
				used = nil
			}
		}
	}
}
