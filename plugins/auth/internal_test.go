package auth

import (
	"math"
	"strconv"
	"testing"
	"time"
)

// A timer that has fired while new terms began ends nothing.
func TestLateTimer(t *testing.T) {
	g := &granted{plugin: NewCheckerPlugin(nil)} // without a session, which it must not close
	for range 2 {
		g.begin(terms{Grant: Grant{Until: time.Now().Add(time.Hour)}})
	}
	g.expire(1)
	if g.ended {
		t.Error("the end of the first term has ended the second")
	}
	g.end()
	g.expire(2)
}

// What an AUTH_REPLY says of the end, and what is made of whatever comes.
func TestExpiresText(t *testing.T) {
	for _, test := range []struct {
		until time.Time
		want  string
	}{{time.Time{}, "0"}, {time.Unix(1, 0), "1"}, {time.Now().Add(math.MaxInt64), strconv.FormatInt(math.MaxInt64/1_000_000, 10)}} {
		if got := expiresText(test.until); got != test.want && got[:5] != test.want[:min(5, len(test.want))] {
			t.Errorf("expiresText(%v) = %s; want %s", test.until, got, test.want)
		}
	}
	for _, test := range []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"0", 0, true}, {"1", time.Millisecond, true}, {"3600000", time.Hour, true},
		{"9223372036854", 9223372036854 * time.Millisecond, true}, {"9223372036855", 9223372036854 * time.Millisecond, true},
		{"9223372036854775807", 9223372036854 * time.Millisecond, true},
		{"9223372036854775808", 0, false}, {"99999999999999999999999", 0, false},
		{"", 0, false}, {"-1", 0, false}, {"+1", 0, false}, {"1.5", 0, false}, {"1e3", 0, false}, {"0x1", 0, false}, {"never", 0, false},
	} {
		if got, ok := parseExpires([]byte(test.text)); got != test.want || ok != test.ok {
			t.Errorf("parseExpires(%q) = %v, %v; want %v, %v", test.text, got, ok, test.want, test.ok)
		}
	}
}
