package registry

import (
	"fmt"
	"reflect"
	"runtime"
	"strconv"
	"strings"
)

// Known is an element that the project ships: the error of a failed look-up of its id
// or name says what to import. ID is 0 for kinds without ids.
type Known struct {
	ID     byte
	Name   string
	Import string
}

// words makes the error texts of one kind.
type words struct {
	kind    string
	missing error
	known   []Known
}

func (w words) noID(id byte, have []string) error {
	imp := ""
	for _, k := range w.known {
		if k.ID == id && id != 0 {
			imp = k.Import
		}
	}
	return fmt.Errorf("%w id: %d%s", w.missing, id, hint(imp, have))
}

func (w words) noName(name string, have []string) error {
	imp := ""
	for _, k := range w.known {
		if k.Name == name {
			imp = k.Import
		}
	}
	return fmt.Errorf("%w name: %s%s", w.missing, nameText(name), hint(imp, have))
}

func hint(imp string, have []string) string {
	b := new(strings.Builder)
	b.WriteString(" (forgotten import?)")
	if imp != "" {
		fmt.Fprintf(b, " import _ %q;", imp)
	}
	b.WriteString(" registered: ")
	if len(have) == 0 {
		have = []string{"nothing"}
	}
	b.WriteString(strings.Join(have, ", "))
	return b.String()
}

func idText(id byte) string {
	if id > ' ' && id < 0x7f {
		return fmt.Sprintf("%d %q", id, id)
	}
	return strconv.Itoa(int(id))
}

// nameText returns name for an error text: a name from the wire must neither flood nor
// garble a log.
func nameText(name string) string {
	const most = 64
	if len(name) > most {
		return strconv.Quote(name[:most]) + "…"
	}
	for _, r := range name {
		if !strconv.IsPrint(r) || r == '\ufffd' {
			return strconv.Quote(name)
		}
	}
	return name
}

func isNil(e any) bool {
	switch v := reflect.ValueOf(e); v.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Func, reflect.Pointer:
		return v.IsNil()
	default:
		return false
	}
}

// describe returns a text that distinguishes two values of one kind: the name of a
// function, since all functions have the same type, else the type.
func describe(e any) string {
	if v := reflect.ValueOf(e); v.Kind() == reflect.Func {
		if f := runtime.FuncForPC(v.Pointer()); f != nil {
			return f.Name()
		}
	}
	return fmt.Sprintf("%T", e)
}
