package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// program is one package of the program that is migrated.
type program struct {
	fset     *token.FileSet
	files    []*source
	info     types.Info
	standard bool // mixers/standard is imported by one of its files
}

func (p *program) check(im *imports) {
	p.info = types.Info{
		Uses:       map[*ast.Ident]types.Object{},
		Defs:       map[*ast.Ident]types.Object{},
		Types:      map[ast.Expr]types.TypeAndValue{},
		Selections: map[*ast.SelectorExpr]*types.Selection{},
	}
	files := make([]*ast.File, len(p.files))
	for i, s := range p.files {
		files[i] = s.ast
	}
	typecheck("main", p.fset, files, im, &p.info)
}

// rewrite rewrites the files that import an ancestor.
func (p *program) rewrite() (result, error) {
	all := result{modules: map[string]bool{}}
	for _, s := range p.files {
		if len(s.ages) == 0 {
			continue
		}
		r := &rewriter{program: p, file: s, needs: map[string]string{}}
		after, err := r.run()
		if err != nil {
			return all, fmt.Errorf("%s: %w", s.name, err)
		}
		if !bytes.Equal(after, s.text) {
			all.files = append(all.files, file{s.name, s.mode, s.text, after})
		}
		all.notes = append(all.notes, r.notes...)
		for path := range r.modules {
			all.modules[path] = true
		}
	}
	return all, nil
}

// rewriter rewrites one file.
type rewriter struct {
	*program
	file    *source
	core    string            // what the file calls package tp
	needs   map[string]string // imports to add: path to name
	edits   []textEdit
	notes   []note
	offsets []int // of the notes
	modules map[string]bool
}

func (r *rewriter) run() ([]byte, error) {
	r.core = r.coreName()
	for _, spec := range r.file.ast.Imports {
		r.importSpec(spec)
	}
	ast.PreorderStack(r.file.ast, nil, func(n ast.Node, stack []ast.Node) bool {
		r.node(n, stack)
		return true
	})
	text := r.apply()
	after, err := r.fixImports(text)
	if err != nil {
		return nil, err
	}
	r.placeNotes(text, after)
	return after, nil
}

// coreName is what the file will call package tp: the name that it gives to the
// root package, else tp, unless that is something else in the package.
func (r *rewriter) coreName() string {
	for _, spec := range r.file.ast.Imports {
		if _, sub, ok := ancestor(importPath(spec)); ok && sub == "" && spec.Name != nil && spec.Name.Name != "_" && spec.Name.Name != "." {
			return spec.Name.Name
		}
	}
	taken := false
	for id, obj := range r.info.Defs {
		taken = taken || id.Name == "tp" && obj != nil && obj.Parent() != nil // no field, no method
	}
	if taken {
		return "teleport"
	}
	return "tp"
}

func (r *rewriter) importSpec(spec *ast.ImportSpec) {
	a, sub, ok := ancestor(importPath(spec))
	if !ok {
		if name, ok := companion(importPath(spec)); ok {
			r.note(spec, importPath(spec), companionHints[name].hint, companionHints[name].under)
		}
		return
	}
	if spec.Name != nil && spec.Name.Name == "." {
		r.note(spec, importPath(spec), "names of an import with a dot are not rewritten; give it a name and run migrate again", inFirst)
	}
	hint, known := importHints[sub]
	switch {
	case known:
		r.note(spec, importPath(spec), hint.hint, hint.under)
	case successor(sub) == "":
		r.note(spec, importPath(spec), "there is no module for this package of "+string(a), inPackages)
	}
}

func (r *rewriter) node(n ast.Node, stack []ast.Node) {
	switch n := n.(type) {
	case *ast.SelectorExpr:
		r.selector(n, stack)
	case *ast.CompositeLit:
		r.literal(n, stack)
	case *ast.FuncDecl:
		r.method(n)
	}
}

// selector handles pkg.Name, value.Method and value.Field.
func (r *rewriter) selector(sel *ast.SelectorExpr, stack []ast.Node) {
	if id, ok := sel.X.(*ast.Ident); ok {
		if name, ok := r.info.Uses[id].(*types.PkgName); ok {
			if a, sub, ok := ancestorKey(name.Imported().Path()); ok {
				r.packaged(a, sub, id, sel, stack)
			}
			return
		}
	}
	if key := r.member(sel); key != "" {
		r.obey(key, rules[key], sel, stack)
		return
	}
	if r.file.ages[v7] && r.untyped(sel.X) {
		switch sel.Sel.Name {
		case "Status", "StatusOK", "SetStatus":
			r.note(sel.Sel, "."+sel.Sel.Name, "if this is a method of eRPC: Rerror(), !Rerror().HasError(), SetRerror(r); the type of the value is not known to migrate", inV7)
		}
	}
}

// ancestorKey is ancestor for the paths that stubs are typed under.
func ancestorKey(path string) (age, string, bool) {
	a, sub, _ := strings.Cut(path, "/")
	return age(a), sub, a == string(v5) || a == string(v7)
}

// packaged handles a name of an ancestor's package.
func (r *rewriter) packaged(a age, sub string, id *ast.Ident, sel *ast.SelectorExpr, stack []ast.Node) {
	if successor(sub) == "" {
		return // the note at the import has said so
	}
	short := packageName(v5, sub)
	key := short + "." + sel.Sel.Name
	rule, ok := rules[key]
	if sub == "" && id.Name != r.core {
		r.replace(id.Pos(), id.End(), r.core)
	}
	if c, ok := codecModules[key]; ok {
		r.needs[prefix+"codecs/"+c] = "_"
	}
	if !ok && r.info.Uses[sel.Sel] == nil {
		r.note(sel, key, "not a name that migrate knows of "+string(a), inFirst)
		return
	}
	if key == "tp.NewPeer" && !r.standard {
		r.standard = true
		r.needs[standardPath] = "_"
	}
	r.obey(key, rule, sel, stack)
}

// codecModules are the codecs that came with the root package and are not in
// mixers/standard.
var codecModules = map[string]string{
	"codec.ID_PROTOBUF":   "pbcodec",
	"codec.NAME_PROTOBUF": "pbcodec",
	"codec.ID_THRIFT":     "thriftcodec",
	"codec.NAME_THRIFT":   "thriftcodec",
	`"protobuf"`:          "pbcodec",
	`"thrift"`:            "thriftcodec",
}

func (r *rewriter) obey(key string, rule rule, sel *ast.SelectorExpr, stack []ast.Node) {
	switch {
	case rule.edit != nil:
		rule.edit(r, key, sel, stack)
	case rule.to != "":
		r.replace(sel.Sel.Pos(), sel.Sel.End(), rule.to)
	case rule.hint != "":
		r.note(sel.Sel, key, rule.hint, rule.under)
	}
}

// member returns "Type.Name" of a method or field of an ancestor's type, else "".
func (r *rewriter) member(sel *ast.SelectorExpr) string {
	s := r.info.Selections[sel]
	if s == nil {
		return ""
	}
	obj := s.Obj()
	if obj.Pkg() == nil {
		return ""
	}
	if _, _, ok := ancestorKey(obj.Pkg().Path()); !ok {
		return ""
	}
	return owner(obj, s.Recv()) + "." + obj.Name()
}

// owner is the name of the type that declares a method, or has a field.
func owner(obj types.Object, recv types.Type) string {
	if f, ok := obj.(*types.Func); ok {
		recv = f.Signature().Recv().Type()
	}
	if p, ok := recv.(*types.Pointer); ok {
		recv = p.Elem()
	}
	if named, ok := types.Unalias(recv).(*types.Named); ok {
		if _, isInterface := named.Underlying().(*types.Interface); isInterface || named.Obj().Pkg() == obj.Pkg() {
			return named.Obj().Name()
		}
	}
	return "PeerConfig" // the one struct that has fields, embedded in another
}

// untyped reports whether the type of x could not be found out.
func (r *rewriter) untyped(x ast.Expr) bool {
	t := r.info.TypeOf(x)
	return t == nil || t == types.Typ[types.Invalid]
}

// literal handles the keys of the ancestors' structs.
func (r *rewriter) literal(lit *ast.CompositeLit, _ []ast.Node) {
	named, ok := types.Unalias(r.info.TypeOf(lit)).(*types.Named)
	if !ok {
		return
	}
	for _, e := range lit.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		key, ok := kv.Key.(*ast.Ident)
		if !ok {
			continue
		}
		obj, ok := r.info.Uses[key].(*types.Var)
		if !ok || !obj.IsField() || obj.Pkg() == nil {
			continue
		}
		if _, _, ok := ancestorKey(obj.Pkg().Path()); !ok {
			continue
		}
		field := named.Obj().Name() + "." + key.Name
		if rule := rules[field]; rule.to != "" {
			r.replace(key.Pos(), key.End(), rule.to)
		} else if rule.hint != "" {
			r.note(key, field, rule.hint, rule.under)
		}
		value, ok := kv.Value.(*ast.BasicLit)
		if !ok {
			continue
		}
		if c, ok := codecModules[value.Value]; ok && key.Name == "DefaultBodyCodec" {
			r.needs[prefix+"codecs/"+c] = "_"
		}
		if key.Name == "Network" {
			switch value.Value {
			case `"quic"`:
				r.needs[prefix+"mixers/quic"] = "_"
				r.note(value, "Network: "+value.Value, "both sides need a TLS configuration; v7 is accepted, and dialled with Net: quic.New(quic.Options{V7: true})", inPackages)
			case `"kcp"`:
				r.needs[prefix+"mixers/kcp"] = "_"
				r.note(value, "Network: "+value.Value, "peers of v7 need Net: kcp.New(kcp.V7()) in place of Network", inPackages)
			}
		}
	}
}

// method handles hooks whose shape has changed.
func (r *rewriter) method(f *ast.FuncDecl) {
	if f.Recv == nil || f.Name.Name != "PostDial" || len(f.Type.Params.List) != 2 {
		return
	}
	session, redial := f.Type.Params.List[0], f.Type.Params.List[1]
	sel, ok := session.Type.(*ast.SelectorExpr)
	if !ok || r.info.Uses[sel.Sel] == nil || sel.Sel.Name != "PreSession" || !r.file.ages[v7] {
		return
	}
	if len(redial.Names) == 1 && f.Body != nil {
		obj := r.info.Defs[redial.Names[0]]
		used := false
		for _, u := range r.info.Uses {
			used = used || obj != nil && u == obj
		}
		if used {
			r.note(f.Name, "PostDial", "it is PostDial(sess), which runs at a redial too, unless the plugin has PostRedial(sess)", inV7)
			return
		}
	}
	r.replace(session.End(), redial.End(), "")
}

// A textEdit replaces a part of the file.
type textEdit struct {
	from, to int
	text     string
}

func (r *rewriter) offset(p token.Pos) int { return r.fset.Position(p).Offset }

func (r *rewriter) replace(from, to token.Pos, text string) {
	r.edits = append(r.edits, textEdit{r.offset(from), r.offset(to), text})
}

func (r *rewriter) insert(at token.Pos, text string) { r.replace(at, at, text) }

func (r *rewriter) note(n ast.Node, what, hint, under string) {
	at := r.fset.Position(n.Pos())
	r.notes = append(r.notes, note{r.file.name, at.Line, at.Line, what, hint, under})
	r.offsets = append(r.offsets, at.Offset)
}

// apply makes the edits. Of edits inside what another takes away nothing is left.
func (r *rewriter) apply() []byte {
	slices.SortStableFunc(r.edits, func(a, b textEdit) int {
		if a.from != b.from {
			return a.from - b.from
		}
		if a.from == a.to || b.from == b.to {
			return a.to - b.to // insertions first
		}
		return b.to - a.to // what takes the others away first
	})
	var out bytes.Buffer
	at := 0
	for _, e := range r.edits {
		if e.from < at {
			continue
		}
		out.Write(r.file.text[at:e.from])
		out.WriteString(e.text)
		at = e.to
	}
	out.Write(r.file.text[at:])
	return out.Bytes()
}

// placeNotes finds the lines of the notes in the text that was made. All lines
// that the imports took or gave are above the code.
func (r *rewriter) placeNotes(edited, after []byte) {
	added := bytes.Count(after, []byte("\n")) - bytes.Count(edited, []byte("\n"))
	for i := range r.notes {
		n := &r.notes[i]
		if at := bytes.Index(after, []byte(`"`+n.what+`"`)); strings.HasPrefix(n.what, "github.com/") {
			if at >= 0 {
				n.lineAfter = 1 + bytes.Count(after[:at], []byte("\n"))
			}
			continue
		}
		for _, e := range r.edits {
			if e.to <= r.offsets[i] {
				n.lineAfter += strings.Count(e.text, "\n") - bytes.Count(r.file.text[e.from:e.to], []byte("\n"))
			}
		}
		n.lineAfter += added
	}
}
