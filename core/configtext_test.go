package tp

import (
	"bytes"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

type textValue struct {
	text string
	want any
}

// textValues are values of fields, as text and as what it means. A field that is not here
// has the value of its type in textValueOf.
var textValues = map[string]textValue{
	"network":              {"unix", "unix"},
	"local_ip":             {" 127.0.0.1 ", "127.0.0.1"},
	"listen_port":          {"9090", uint16(9090)},
	"default_dial_timeout": {"1m30s", 90 * time.Second},
	"redial_times":         {"-1", int32(-1)},
	"redial_interval":      {"250ms", 250 * time.Millisecond},
	"default_body_codec":   {"protobuf", "protobuf"},
	"default_session_age":  {"24h", 24 * time.Hour},
	"default_context_age":  {"1s", time.Second},
	"slow_comet_duration":  {"0.5s", time.Second / 2},
	"print_detail":         {"true", true},
	"count_time":           {"1", true},
	"local_port":           {"65535", uint16(65535)},
	"default_call_timeout": {"2s", 2 * time.Second},
	"close_timeout":        {"3s", 3 * time.Second},
	"handshake_timeout":    {"4s", 4 * time.Second},
	"write_timeout":        {"5s", 5 * time.Second},
	"redial_wait":          {"6s", 6 * time.Second},
	"max_handlers":         {"100", 100},
	"write_bound":          {"65536", 65536},
	"busy_poll":            {"-1ns", time.Duration(-1)},
	"read_memory":          {"0x1000000", int64(1 << 24)},
	"session_memory":       {"0x400000", int64(1 << 22)},
	"stream_window":        {"65536", int64(65536)},
	"extensions":           {"true", true},
	"message_size_limit":   {"4294967295", uint32(1<<32 - 1)},
	"unix_mode":            {"0660", os.FileMode(0o660)},
	"trusted_proxies":      {"10.0.0.0/8, ::1,", []string{"10.0.0.0/8", "::1"}},
	"access_log":           {"T", true},
	"hide_panics":          {"TRUE", true},
	"default_xfer_pipe":    {"gzip", []string{"gzip"}},
	"xfer_pipe_min":        {"4096", 4096},
	"protocols":            {"raw,http", []string{"raw", "http"}},
}

func textValueOf(t *testing.T, f textField) textValue {
	t.Helper()
	if v, ok := textValues[f.name]; ok {
		return v
	}
	switch f.value.Interface().(type) {
	case time.Duration:
		return textValue{"7s", 7 * time.Second}
	case bool:
		return textValue{"true", true}
	case string:
		return textValue{"x", "x"}
	case PushPolicy:
		return textValue{"latest", PushLatest}
	case []string:
		return textValue{"x,y", []string{"x", "y"}}
	case int:
		return textValue{"7", 7}
	}
	t.Fatalf("there is no value for %s, a %s", f.name, f.value.Type())
	return textValue{}
}

func wantTextValues(t *testing.T, c *PeerConfig) {
	t.Helper()
	for _, f := range c.textFields() {
		if got, want := f.value.Interface(), textValueOf(t, f).want; !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v (%[2]T); want %v (%[3]T)", f.name, got, want)
		}
	}
}

func TestFromEnv(t *testing.T) {
	var c PeerConfig
	for _, f := range c.textFields() {
		t.Setenv("APP_"+strings.ToUpper(f.name), textValueOf(t, f).text)
	}
	if err := c.FromEnv("APP_"); err != nil {
		t.Fatal(err)
	}
	wantTextValues(t, &c)
	before := PeerConfig{ListenPort: 1, LocalIP: "::1"}
	t.Setenv("OTHER_LOCAL_IP", "")
	if err := before.FromEnv("OTHER_"); err != nil || before.ListenPort != 1 || before.LocalIP != "::1" {
		t.Errorf("without variables, or with an empty one: %+v, %v; want what was there", before, err)
	}
}

func TestFlags(t *testing.T) {
	var c PeerConfig
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	c.Flags(fs, "srv-")
	var args []string
	for _, f := range c.textFields() {
		args = append(args, "-srv-"+strings.ReplaceAll(f.name, "_", "-")+"="+textValueOf(t, f).text)
	}
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	wantTextValues(t, &c)
	if err := fs.Parse([]string{"-srv-print-detail", "rest"}); err != nil || fs.NArg() != 1 {
		t.Errorf("a flag without a value: %v, %d arguments left; want 1", err, fs.NArg())
	}
}

func TestFlagsShowDefaults(t *testing.T) {
	c := PeerConfig{ListenPort: 9090, CloseTimeout: time.Second, UnixMode: 0o600, Protocols: []string{"raw", "http"}}
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	var out bytes.Buffer
	fs.SetOutput(&out)
	c.Flags(fs, "")
	fs.PrintDefaults()
	for _, want := range []string{"-listen-port", "for server role (default 9090)", "(default 1s)", "(default 0600)", "(default raw,http)"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("-h does not say %q:\n%s", want, out.String())
		}
	}
	if n := strings.Count(out.String(), "(default "); n != 4 {
		t.Errorf("-h shows %d defaults; want the 4 that were set", n)
	}
	if err := fs.Parse(nil); err != nil || c.ListenPort != 9090 {
		t.Errorf("without flags the port is %d, %v; want 9090", c.ListenPort, err)
	}
}

func TestTextFieldErrors(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"listen_port", "http", "0 to 65535"},
		{"listen_port", "65536", "0 to 65535"},
		{"listen_port", "-1", "0 to 65535"},
		{"message_size_limit", "4294967296", "0 to 4294967295"},
		{"redial_times", "3000000000", "at most 32 bits"},
		{"close_timeout", "5", "1m30s"},
		{"print_detail", "maybe", "true or false"},
		{"unix_mode", "rw-------", "octal"},
		{"unix_mode", "0800", "octal"},
	} {
		t.Run(test.name+" "+test.text, func(t *testing.T) {
			variable := "APP_" + strings.ToUpper(test.name)
			t.Setenv(variable, test.text)
			t.Setenv("APP_REDIAL_INTERVAL", "soon")
			c := PeerConfig{ListenPort: 7}
			err := c.FromEnv("APP_")
			if err == nil || !containsAll(err.Error(), variable+`="`+test.text+`"`, test.want, `APP_REDIAL_INTERVAL="soon"`) {
				t.Errorf("FromEnv says %v; want both variables, their texts, and %q", err, test.want)
			}
			if c.ListenPort != 7 {
				t.Errorf("the port is %d; want it as it was", c.ListenPort)
			}
			fs := flag.NewFlagSet("", flag.ContinueOnError)
			fs.SetOutput(new(bytes.Buffer))
			c.Flags(fs, "")
			name := "-" + strings.ReplaceAll(test.name, "_", "-")
			if err := fs.Parse([]string{name + "=" + test.text}); err == nil || !containsAll(err.Error(), name, test.want) {
				t.Errorf("the flag says %v; want its name and %q", err, test.want)
			}
		})
	}
}
