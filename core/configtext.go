package tp

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// FromEnv sets the fields that have an environment variable: its name is the prefix and
// the field's YAML name in upper case, such as APP_LISTEN_PORT. Empty variables count as
// not set. Durations are written like 1m30s, file modes in octal, lists with commas. The
// error lists all variables that cannot be parsed; their fields stay unchanged.
func (c *PeerConfig) FromEnv(prefix string) error {
	var errs []error
	for _, f := range c.textFields() {
		name := prefix + strings.ToUpper(f.name)
		if text := os.Getenv(name); text != "" {
			if err := f.Set(text); err != nil {
				errs = append(errs, fmt.Errorf("tp: config: environment variable %s=%q: %w", name, text, err))
			}
		}
	}
	return errors.Join(errs...)
}

// Flags defines a flag for each field: its name is the prefix and the field's YAML name
// with hyphens, such as -listen-port. The present values of c are the defaults; parsing
// the flags sets the fields. Values are written as for FromEnv.
func (c *PeerConfig) Flags(fs *flag.FlagSet, prefix string) {
	for _, f := range c.textFields() {
		fs.Var(f, prefix+strings.ReplaceAll(f.name, "_", "-"), f.comment)
	}
}

// textField is a field of a configuration as a flag.Value.
type textField struct {
	name, comment string
	value         reflect.Value
}

var _ flag.Value = textField{}

// textFields returns the fields that have a YAML name.
func (c *PeerConfig) textFields() (fields []textField) {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		if name := tag.Get("yaml"); name != "" && name != "-" {
			fields = append(fields, textField{name, tag.Get("comment"), v.Field(i)})
		}
	}
	return fields
}

// IsBoolFlag reports whether -x means -x=true.
func (f textField) IsBoolFlag() bool { return f.value.IsValid() && f.value.Kind() == reflect.Bool }

// String returns "" for a zero value, so that package flag does not show it as a default.
func (f textField) String() string {
	if !f.value.IsValid() || f.value.IsZero() {
		return ""
	}
	switch v := f.value.Interface().(type) {
	case os.FileMode:
		return fmt.Sprintf("%#o", uint32(v))
	case []string:
		return strings.Join(v, ",")
	default:
		return fmt.Sprint(v)
	}
}

// Set parses text and sets the field.
func (f textField) Set(text string) error {
	v, text := f.value, strings.TrimSpace(text)
	switch p := v.Addr().Interface().(type) {
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("want a duration such as 1m30s")
		}
		*p = d
		return nil
	case *os.FileMode:
		mode, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
		if err != nil {
			return errors.New("want a file mode in octal, such as 0600")
		}
		*p = os.FileMode(mode)
		return nil
	case *[]string:
		*p = nil
		for word := range strings.SplitSeq(text, ",") {
			if word = strings.TrimSpace(word); word != "" {
				*p = append(*p, word)
			}
		}
		return nil
	}
	bits := 0
	if v.CanInt() || v.CanUint() {
		bits = v.Type().Bits()
	}
	switch {
	case v.Kind() == reflect.String:
		v.SetString(text)
	case v.Kind() == reflect.Bool:
		on, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("want true or false")
		}
		v.SetBool(on)
	case v.CanInt():
		n, err := strconv.ParseInt(text, 0, bits)
		if err != nil {
			return fmt.Errorf("want a whole number of at most %d bits", bits)
		}
		v.SetInt(n)
	case v.CanUint():
		n, err := strconv.ParseUint(text, 0, bits)
		if err != nil {
			return fmt.Errorf("want a whole number from 0 to %d", uint64(1)<<bits-1)
		}
		v.SetUint(n)
	}
	return nil
}
