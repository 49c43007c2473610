package guest

import (
	"encoding/json"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// Observer is a part that gets a record of each call and push of the host, for an audit or
// for figures. It never delays a message: events that it does not take in time are
// dropped and counted.
type Observer interface {
	// Name has up to 64 letters, digits, - and _.
	Name() string
	// Observe gets the next events. It is called with one batch at a time, which is its
	// own to keep; the next one waits until it returns.
	Observe(Batch)
}

// MetaObserver is an Observer that also gets metadata.
type MetaObserver interface {
	Observer
	// MetaKeys returns the keys of the metadata that the events are to have.
	MetaKeys() []string
}

// Batch is the events since the last batch.
type Batch struct {
	Events []Event `json:"events"` // oldest first, at most 256
	// Dropped is how many events before these were lost: the guest was too slow, or not
	// there.
	Dropped uint64 `json:"dropped,omitempty"`
}

// Event is one call or push that has ended.
type Event struct {
	Kind    string            `json:"kind"`           // "call" or "push"
	Sent    bool              `json:"sent,omitempty"` // made by the host; else served by it
	Method  string            `json:"method"`         // its service method
	Code    int32             `json:"code,omitempty"` // of its error; 0 is success
	Message string            `json:"message,omitempty"`
	Cost    time.Duration     `json:"cost_ns"` // of a message that was refused before its handler 0
	Time    time.Time         `json:"time"`    // when it ended
	Session string            `json:"session"` // id
	Remote  string            `json:"remote"`  // address with port
	Meta    map[string]string `json:"meta,omitempty"`
}

var observerKind = kind{
	word:  contract.KindObserver,
	value: "guest.Observer",
	describe: func(part any) (contract.Part, bool) {
		o, ok := part.(Observer)
		if !ok {
			return contract.Part{}, false
		}
		var options contract.ObserverOptions
		if m, ok := o.(MetaObserver); ok {
			options.Meta = m.MetaKeys()
		}
		return named(o.Name(), options), true
	},
	serve: func(s *server, parts []any) {
		for _, part := range parts {
			o := part.(Observer)
			turn := make(chan struct{}, 1) // several lanes, or a batch that is over its deadline
			s.handleItem(contract.ObserverRoute(o.Name()), func(ctx tp.CallCtx, item []byte) ([]byte, error) {
				var b Batch
				if err := json.Unmarshal(item, &b); err != nil {
					return nil, err
				}
				select {
				case turn <- struct{}{}:
				case <-ctx.Context().Done():
					return nil, ctx.Context().Err()
				}
				defer func() { <-turn }()
				if len(b.Events) > 0 || b.Dropped > 0 { // else the host's self-test
					o.Observe(b)
				}
				return nil, nil
			})
		}
	},
}

// named is the description of a part with a name and options.
func named(name string, options any) contract.Part {
	p := contract.Part{Name: name}
	if err := contract.CheckRouteName(name); err != nil {
		p.Unfit = err.Error()
	}
	p.Options, _ = json.Marshal(options) // a struct of texts
	return p
}
