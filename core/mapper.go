package tp

import (
	"path"
	"strings"
	"unicode"
)

// ServiceMethodMapper makes the service method of a handler. name is a Go name
// (of a struct, a method or a function) or the prefix given to SubRoute; prefix
// is the mapper's result for the enclosing names, empty at the root.
//
// A mapper is called only by registrations, possibly from several goroutines.
type ServiceMethodMapper func(prefix, name string) string

// HTTPServiceMethodMapper maps in the manner of a URL path:
//
//	AaBb    /aa_bb
//	ABcXYz  /abc_xyz
//	Aa__Bb  /aa_bb
//	aa__bb  /aa_bb
//	Aa_Bb   /aa/bb
//	aa_bb   /aa/bb
//
// A single underscore separates two path elements, several are one underscore,
// those at the beginning are dropped. An upper-case letter becomes lower-case
// and begins a word unless it follows another upper-case letter. The result
// begins with a slash and is a clean path.
func HTTPServiceMethodMapper(prefix, name string) string {
	return path.Join("/", prefix, snake(splitUnderscores(name, '/')))
}

// RPCServiceMethodMapper maps in the manner of a qualified name, letters kept:
//
//	AaBb    AaBb
//	Aa__Bb  Aa_Bb
//	aa__bb  aa_bb
//	Aa_Bb   Aa.Bb
//	aa_bb   aa.bb
//
// Underscores are read as by HTTPServiceMethodMapper, with a dot as separator.
func RPCServiceMethodMapper(prefix, name string) string {
	return strings.Trim(prefix+"."+splitUnderscores(name, '.'), ".")
}

// splitUnderscores replaces each run of underscores in name: by nothing at the
// beginning, by sep for a single one inside, by one underscore for all others.
func splitUnderscores(name string, sep byte) string {
	name = strings.TrimLeft(name, "_")
	var b strings.Builder
	for {
		word, rest, found := strings.Cut(name, "_")
		b.WriteString(word)
		if !found {
			return b.String()
		}
		name = strings.TrimLeft(rest, "_")
		if single := len(name) == len(rest); single && name != "" {
			b.WriteByte(sep)
		} else {
			b.WriteByte('_')
		}
	}
}

// snake puts an underscore between words and makes all letters lower-case. A
// path element never begins with an underscore.
func snake(name string) string {
	var b strings.Builder
	prev := '/'
	for _, r := range name {
		begins := unicode.IsUpper(r) && !unicode.IsUpper(prev) && prev != '_' && prev != '/'
		if begins {
			b.WriteByte('_')
		}
		if r == '_' && prev == '/' {
			continue
		}
		b.WriteRune(unicode.ToLower(r))
		prev = r
	}
	return b.String()
}
