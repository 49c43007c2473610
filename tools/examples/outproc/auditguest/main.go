// Command auditguest is a guest with an observer that writes a line of JSON for each call
// and push: to the file of its configuration, {"file": "audit.log"}, or else to the log of
// its host.
package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"

	"github.com/teleport-go/teleport/mixers/outproc/guest"
)

func main() {
	a := new(audit)
	guest.Config{
		Configure: a.configure,
		Schema:    json.RawMessage(`{"type": "object", "properties": {"file": {"type": "string"}}}`),
	}.Serve(a)
}

type audit struct{ file *os.File }

// configure is called before the first batch.
func (a *audit) configure(config json.RawMessage) error {
	var c struct{ File string }
	if config == nil {
		return nil
	}
	if err := json.Unmarshal(config, &c); err != nil || c.File == "" {
		return fmt.Errorf(`want a configuration such as {"file": "audit.log"}, not %s`, config)
	}
	file, err := os.OpenFile(c.File, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	a.file = file
	return err
}

func (*audit) Name() string { return "audit" }

// MetaKeys are the metadata that the events have.
func (*audit) MetaKeys() []string { return []string{"X-User"} }

// Observe gets one batch at a time.
func (a *audit) Observe(b guest.Batch) {
	if b.Dropped > 0 {
		slog.Warn("audit: events were lost", "count", b.Dropped)
	}
	for _, e := range b.Events {
		if a.file == nil {
			slog.Info("audit", "kind", e.Kind, "method", e.Method, "code", e.Code, "user", e.Meta["X-User"], "remote", e.Remote)
		} else if err := json.NewEncoder(a.file).Encode(e); err != nil {
			slog.Error("audit: an event was not written", "error", err)
		}
	}
}
