package registry

import (
	"fmt"
	"reflect"
	"runtime"
	"strconv"
	"strings"
)

// Known is something the project ships: what a failed look-up of its id or name
// tells to import. ID is 0 for kinds without ids.
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

// nameText keeps a name that came over the wire from flooding or garbling a
// log.
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

// describe tells two values of one kind apart: functions by their names, as
// their types are all the same.
func describe(e any) string {
	if v := reflect.ValueOf(e); v.Kind() == reflect.Func {
		if f := runtime.FuncForPC(v.Pointer()); f != nil {
			return f.Name()
		}
	}
	return fmt.Sprintf("%T", e)
}
