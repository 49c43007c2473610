package main

import (
	"go/ast"
	"go/token"
	"go/types"
	"strings"
)

// edit rewrites more than a name. stack holds what is around sel, the file first.
type edit func(r *rewriter, key string, sel *ast.SelectorExpr, stack []ast.Node)

// called returns the call of sel, and what is around that.
func called(sel *ast.SelectorExpr, stack []ast.Node) (call *ast.CallExpr, around ast.Node) {
	if len(stack) == 0 {
		return nil, nil
	}
	c, ok := stack[len(stack)-1].(*ast.CallExpr)
	if !ok || c.Fun != sel {
		return nil, nil
	}
	if len(stack) > 1 {
		around = stack[len(stack)-2]
	}
	return c, around
}

// asValue notes a function or method that is not called on the spot.
func asValue(r *rewriter, key string, sel *ast.SelectorExpr) {
	r.note(sel.Sel, key, "used as a value: call it where it is needed", inV7)
}

// newStatus: NewStatus(code, msg[, cause]) is NewRerror(code, msg, reason).
func newStatus(r *rewriter, key string, sel *ast.SelectorExpr, stack []ast.Node) {
	call, _ := called(sel, stack)
	if call == nil {
		asValue(r, key, sel)
		return
	}
	if call.Ellipsis.IsValid() || len(call.Args) < 2 || len(call.Args) > 3 {
		r.note(sel.Sel, key, "NewRerror(code, message, reason)", inV7)
		return
	}
	r.replace(sel.Sel.Pos(), sel.Sel.End(), "NewRerror")
	if len(call.Args) == 2 {
		r.insert(call.Args[1].End(), `, ""`)
		return
	}
	r.reason(call.Args[2])
}

// newStatusByCodeText: (code, cause, tagStack) is NewRerror(code, CodeText(code), reason).
func newStatusByCodeText(r *rewriter, key string, sel *ast.SelectorExpr, stack []ast.Node) {
	call, _ := called(sel, stack)
	if call == nil || len(call.Args) != 3 {
		asValue(r, key, sel)
		return
	}
	code := call.Args[0]
	text := string(r.file.text[r.offset(code.Pos()):r.offset(code.End())])
	if s, ok := code.(*ast.SelectorExpr); ok {
		text = r.core + "." + s.Sel.Name
	}
	r.replace(sel.Sel.Pos(), sel.Sel.End(), "NewRerror")
	r.insert(code.End(), ", "+r.core+".CodeText("+text+")")
	r.reason(call.Args[1])
	r.replace(call.Args[1].End(), call.Rparen, "")
}

// reason makes a text of what was a cause: a text, an error, nil, or anything.
func (r *rewriter) reason(x ast.Expr) {
	if id, ok := x.(*ast.Ident); ok && id.Name == "nil" {
		r.replace(x.Pos(), x.End(), `""`)
		return
	}
	if r.isCause(x) {
		return // statusCause makes it a text
	}
	t := r.info.TypeOf(x)
	if t != nil {
		if b, ok := types.Unalias(t).(*types.Basic); ok && b.Info()&types.IsString != 0 {
			return
		}
		if types.Implements(t, types.Universe.Lookup("error").Type().Underlying().(*types.Interface)) {
			r.insert(x.End(), ".Error()")
			return
		}
	}
	r.needs["fmt"] = ""
	r.insert(x.Pos(), "fmt.Sprint(")
	r.insert(x.End(), ")")
}

func (r *rewriter) isCause(x ast.Expr) bool {
	call, ok := x.(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return ok && r.member(sel) == "Status.Cause"
}

// statusCode: x.Code() is tp.Code(x.Err()), since x may be nil.
func statusCode(r *rewriter, key string, sel *ast.SelectorExpr, stack []ast.Node) {
	call, _ := called(sel, stack)
	if call == nil {
		asValue(r, key, sel)
		return
	}
	r.needs[corePath] = r.core
	r.insert(call.Pos(), r.core+".Code(")
	r.replace(sel.Sel.Pos(), call.End(), "Err())")
}

// statusField: x.Msg() is the field x.Message.
func statusField(field string) edit {
	return func(r *rewriter, key string, sel *ast.SelectorExpr, stack []ast.Node) {
		call, _ := called(sel, stack)
		if call == nil {
			asValue(r, key, sel)
			return
		}
		r.replace(sel.Sel.Pos(), call.End(), field)
		r.note(sel.Sel, key, "now the field "+field+": look at HasError() first, for a nil Rerror has no fields", inV7)
	}
}

// statusCause: the text of x.Cause() is x.Reason.
func statusCause(r *rewriter, key string, sel *ast.SelectorExpr, stack []ast.Node) {
	call, around := called(sel, stack)
	if call == nil {
		asValue(r, key, sel)
		return
	}
	if text, ok := around.(*ast.SelectorExpr); ok && text.Sel.Name == "Error" && len(stack) > 2 {
		if outer, ok := stack[len(stack)-3].(*ast.CallExpr); ok && outer.Fun == text {
			r.replace(sel.Sel.Pos(), outer.End(), "Reason")
			return
		}
	}
	if outer, ok := around.(*ast.CallExpr); ok {
		if f, ok := outer.Fun.(*ast.SelectorExpr); ok && strings.HasPrefix(f.Sel.Name, "NewStatus") && outer.Fun != call {
			r.replace(sel.Sel.Pos(), call.End(), "Reason")
			return
		}
	}
	r.note(sel.Sel, key, "it is nil for an error that came over the network; its text is the field Reason", inV7)
}

// negated: x.OK() is !x.HasError().
func negated(to string) edit {
	return func(r *rewriter, key string, sel *ast.SelectorExpr, stack []ast.Node) {
		call, around := called(sel, stack)
		if call == nil {
			asValue(r, key, sel)
			return
		}
		r.replace(sel.Sel.Pos(), sel.Sel.End(), to)
		if not, ok := around.(*ast.UnaryExpr); ok && not.Op == token.NOT {
			r.replace(not.OpPos, not.OpPos+1, "")
			return
		}
		r.insert(call.Pos(), "!")
	}
}

// messageStatus: m.Status() is m.Rerror(); m.Status(true) made one.
func messageStatus(r *rewriter, key string, sel *ast.SelectorExpr, stack []ast.Node) {
	call, _ := called(sel, stack)
	if call == nil || len(call.Args) > 0 {
		r.note(sel.Sel, key, "Rerror() makes none: SetRerror(tp.NewRerror(code, message, reason))", inV7)
		return
	}
	r.replace(sel.Sel.Pos(), sel.Sel.End(), "Rerror")
}

// routerType: *tp.Router is the interface tp.Router.
func routerType(r *rewriter, key string, sel *ast.SelectorExpr, stack []ast.Node) {
	if len(stack) > 0 {
		if star, ok := stack[len(stack)-1].(*ast.StarExpr); ok {
			r.replace(star.Star, star.Star+1, "")
		}
	}
}

// mustGo: MustGo(fn) is Go(fn).
func mustGo(r *rewriter, key string, sel *ast.SelectorExpr, stack []ast.Node) {
	call, around := called(sel, stack)
	if _, statement := around.(*ast.ExprStmt); call == nil || !statement || len(call.Args) != 1 {
		r.note(sel.Sel, key, "Go(fn), or a goroutine: there is no pool that could be exhausted", inV7)
		return
	}
	r.replace(sel.Sel.Pos(), sel.Sel.End(), "Go")
}

// dropStatement takes a call away that has nothing to do here.
func dropStatement(hint, under string) edit {
	return func(r *rewriter, key string, sel *ast.SelectorExpr, stack []ast.Node) {
		_, around := called(sel, stack)
		stmt, ok := around.(*ast.ExprStmt)
		if !ok {
			r.note(sel.Sel, key, hint, under)
			return
		}
		from, to := r.offset(stmt.Pos()), r.offset(stmt.End())
		text := r.file.text
		for from > 0 && (text[from-1] == ' ' || text[from-1] == '\t') {
			from--
		}
		if to < len(text) && text[to] == '\n' && (from == 0 || text[from-1] == '\n') {
			to++ // the whole line
		}
		r.edits = append(r.edits, textEdit{from, to, ""})
	}
}

// inheritedListener: eRPC's takes an address.
func inheritedListener(r *rewriter, key string, sel *ast.SelectorExpr, stack []ast.Node) {
	if r.file.ages[v7] {
		r.note(sel.Sel, key, "NewInheritedListener(addr.Network(), addr.String(), tlsConfig)", inPackages)
	}
}

// loggerOutputter: it returns nothing here.
func loggerOutputter(r *rewriter, key string, sel *ast.SelectorExpr, stack []ast.Node) {
	if _, around := called(sel, stack); around != nil {
		if _, ok := around.(*ast.ExprStmt); ok {
			return
		}
	}
	r.note(sel.Sel, key, "it returns nothing; FlushLogger flushes", inPackages)
}

// noArguments takes the arguments of a call away.
func noArguments(r *rewriter, key string, sel *ast.SelectorExpr, stack []ast.Node) {
	if call, _ := called(sel, stack); call != nil && len(call.Args) > 0 {
		r.replace(call.Lparen+1, call.Rparen, "")
	}
}

// moved: the name is in package tp now.
func moved(to string) edit {
	return func(r *rewriter, key string, sel *ast.SelectorExpr, stack []ast.Node) {
		r.needs[corePath] = r.core
		r.replace(sel.Pos(), sel.End(), r.core+"."+to)
	}
}

// movedCall: the call is before, the package's name, after.
func movedCall(before, after string) edit {
	return func(r *rewriter, key string, sel *ast.SelectorExpr, stack []ast.Node) {
		call, _ := called(sel, stack)
		if call == nil {
			asValue(r, key, sel)
			return
		}
		r.needs[corePath] = r.core
		r.replace(call.Pos(), call.End(), before+r.core+"."+after)
	}
}
