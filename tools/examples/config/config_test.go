package main

import (
	"strings"
	"testing"
	"time"
)

func TestReadConfig(t *testing.T) {
	for _, test := range []struct {
		name, text string
		port       uint16
		age        time.Duration
		err        string
	}{
		{"keys", "server: {listen_port: 9090, default_session_age: 1h30m}", 9090, 90 * time.Minute, ""},
		{"a key misspelt", "server: {listn_port: 9090}", 0, 0, "listn_port"},
		{"a port too large", "server: {listen_port: 90900}", 0, 0, "90900"},
		{"no unit", "server: {default_session_age: soon}", 0, 0, "soon"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := readConfig(strings.NewReader(test.text))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("readConfig = %v, want an error that names %q", err, test.err)
				}
				return
			}
			if err != nil || c.Server.ListenPort != test.port || c.Server.DefaultSessionAge != test.age {
				t.Errorf("readConfig = port %d, age %v, %v; want %d, %v", c.Server.ListenPort, c.Server.DefaultSessionAge, err, test.port, test.age)
			}
		})
	}
}
