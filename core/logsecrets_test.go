package tp_test

import (
	"strings"
	"testing"

	tp "github.com/teleport-go/teleport/core"
)

// With all details, in all four lines of the access log, no secret appears and no text
// of the other side is long.
func TestSecretsAndLongTexts(t *testing.T) {
	e := logEnds(t, func(c *tp.PeerConfig) { c.PrintDetail = true })
	settings := []tp.MessageSetting{tp.WithSetMeta("Authorization", "hunter2"), tp.WithSetMeta("X-Api-Key", "hunter2"), tp.WithSetMeta("k", "v")}
	e.call(t, "/echo?access_token=hunter2&q=1", "hi", nil, settings...)
	e.sess.Push("/push?access_token=hunter2&q=1", "hi", settings...)
	for _, log := range []struct {
		lines *lineLog
		kind  string
	}{{e.srvLines, "CALL<-"}, {e.cliLines, "CALL->"}, {e.srvLines, "PUSH<-"}, {e.cliLines, "PUSH->"}} {
		line := log.lines.want(t, log.kind)
		if strings.Contains(line, "hunter2") || !strings.Contains(line, "Authorization=***&X-Api-Key=***&k=v") || !strings.Contains(line, "?access_token=***&q=1") {
			t.Errorf("the line is %s; want the secrets masked", line)
		}
	}

	long := logEnds(t, nil)
	method := "/no/" + strings.Repeat("x", 20_000)
	long.call(t, method, "hi", nil)
	long.sess.Push(method, "hi")
	for _, log := range []struct {
		lines *lineLog
		kind  string
	}{{long.srvLines, "CALL<-"}, {long.cliLines, "CALL->"}, {long.srvLines, "PUSH<-"}, {long.cliLines, "PUSH->"}, {long.srvLines, "dropped"}} {
		if line := log.lines.want(t, log.kind); len(line) > 4<<10 {
			t.Errorf("the line of %s has %d bytes", log.kind, len(line))
		}
	}
}
