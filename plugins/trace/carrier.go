package trace

import (
	"strings"

	"go.opentelemetry.io/otel/propagation"

	tp "github.com/teleport-go/teleport/core"
)

// maxField is the length up to which a field of the metadata is read, in bytes;
// W3C Baggage asks for as much.
const maxField = 8 << 10

// carrier lets propagators read and write metadata. Keys are found in any letter
// case, since those of HTTP have a form of their own.
type carrier tp.Meta

var _ propagation.TextMapCarrier = (*carrier)(nil)

func (c *carrier) meta() *tp.Meta { return (*tp.Meta)(c) }

// Get returns the value of a key. A value that is too long, or one of several, is
// treated as absent: there is no way to know which is right.
func (c *carrier) Get(key string) string {
	var value []byte
	found := 0
	c.meta().VisitAll(func(k, v []byte) {
		if isField(k, key) {
			found++
			value = v
		}
	})
	if found != 1 || len(value) > maxField {
		return ""
	}
	return string(value)
}

// Set sets the one value of a key.
func (c *carrier) Set(key, value string) {
	if c.meta().Len() > 0 {
		dropFields(c.meta(), []string{key})
	}
	c.meta().Add(key, value)
}

// Keys returns the keys, in order.
func (c *carrier) Keys() []string {
	keys := make([]string, 0, c.meta().Len())
	c.meta().VisitAll(func(k, _ []byte) { keys = append(keys, string(k)) })
	return keys
}

func isField(key []byte, field string) bool {
	return len(key) == len(field) && strings.EqualFold(string(key), field)
}

func isFieldOf(key []byte, fields []string) bool {
	for _, f := range fields {
		if isField(key, f) {
			return true
		}
	}
	return false
}

func hasField(m *tp.Meta, fields []string) (has bool) {
	m.VisitAll(func(k, _ []byte) { has = has || isFieldOf(k, fields) })
	return has
}

// dropFields removes all values of the fields. It takes one pass, however many
// there are: a proxy passes on what any client has sent.
func dropFields(m *tp.Meta, fields []string) {
	if !hasField(m, fields) {
		return
	}
	rest := new(tp.Meta)
	m.VisitAll(func(k, v []byte) {
		if !isFieldOf(k, fields) {
			rest.AddBytesKV(k, v)
		}
	})
	rest.CopyTo(m)
}
