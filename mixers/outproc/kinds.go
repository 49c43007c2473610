package outproc

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// part is one part of a guest, as its kind implements it in the host.
type part interface {
	// prepare makes the part of a new instance ready, and tests it with an item. The
	// instance serves no items before prepare has returned nil.
	prepare(ctx context.Context, inst *instance) error
	// register makes the part known in the process, or returns an error that names what
	// has its place. register(false) only checks.
	register(really bool) error
}

// kinds makes the parts of each kind by the word for it in a description. A kind is a
// file of its own, with a line here.
var kinds = map[string]func(h *Handle, desc contract.Part) (part, error){
	contract.KindFilter:   newFilter,
	contract.KindCodec:    newCodec,
	contract.KindObserver: newObserver,
	contract.KindDecision: newDecider,
	contract.KindGateway:  newGateway,
}

// newPart returns the part of the description.
func newPart(h *Handle, desc contract.Part) (part, error) {
	make, ok := kinds[desc.Kind]
	if !ok {
		return nil, fmt.Errorf("its part %s is a %q, a kind that this host does not know: build the host with a newer mixers/outproc", desc.Name, desc.Kind)
	}
	if desc.Unfit != "" {
		return nil, fmt.Errorf("its part %s cannot be used from another process: %s", desc.Name, desc.Unfit)
	}
	return make(h, desc)
}

// parseOptions reads the options of a part.
func parseOptions(desc contract.Part, v any) error {
	if len(desc.Options) == 0 {
		return nil
	}
	if err := json.Unmarshal(desc.Options, v); err != nil {
		return fmt.Errorf("the options of its %s %s: %w", desc.Kind, desc.Name, err)
	}
	return nil
}

// registering is held while the parts of one guest are checked and registered, so that
// two Loads cannot take the same id.
var registering sync.Mutex

// register registers all parts or none.
func register(parts []loadedPart) error {
	registering.Lock()
	defer registering.Unlock()
	for _, really := range []bool{false, true} {
		for _, p := range parts {
			if err := p.register(really); err != nil {
				return err
			}
		}
	}
	return nil
}
