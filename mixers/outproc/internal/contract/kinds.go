package contract

import "fmt"

// The kinds of parts that have a name in place of an id.
const (
	KindObserver = "observer"
	KindDecision = "decision"
	KindGateway  = "gateway"
)

// ObserverRoute is the route of batches of events.
func ObserverRoute(name string) string { return "/observer/" + name + "/observe" }

// DecisionRoute is the route of questions.
func DecisionRoute(name string) string { return "/decision/" + name + "/decide" }

// ObserverOptions are the options of an observer.
type ObserverOptions struct {
	Meta []string `json:"meta,omitempty"` // keys of the metadata in its events
}

// DecisionOptions are the options of a decider.
type DecisionOptions struct {
	Hooks []string `json:"hooks"`
}

// CheckRouteName returns an error unless name can be a step of a route: at most 64 letters,
// digits and the signs - and _.
func CheckRouteName(name string) error {
	ok := name != "" && len(name) <= 64
	for _, c := range name {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	}
	if !ok {
		return fmt.Errorf("the name %q is part of a route: it must have 1 to 64 letters, digits and the signs - and _", name)
	}
	return nil
}
