package outproc

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/teleport-go/teleport/mixers/outproc/guest"
)

// The limits of the cache of a decider: entries, bytes of a decision that is kept, and
// different keys of one hook.
const (
	maxDecisions    = 4096
	maxKeptDecision = 4096
	maxKeys         = 8
)

// decisions is the cache of a decider. As with Vary of HTTP, which fields of a question
// count is known from the answers: find tries each Key that an answer of the hook has had.
type decisions struct {
	mu      sync.Mutex
	keys    map[guest.Hook][][]string // the last kept at the end
	entries map[[32]byte]keptDecision
}

type keptDecision struct {
	*decision
	until time.Time
	from  *instance // a new process may decide otherwise
}

// find returns the decision for the question, nil if there is none. While no process is
// there, active is nil, those of the last one count.
func (c *decisions) find(q *guest.Question, active *instance, now time.Time) *decision {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range c.keys[q.Hook] {
		id := keyID(q, key)
		if e, ok := c.entries[id]; ok {
			if now.Before(e.until) && (active == nil || active == e.from) {
				return e.decision
			}
			delete(c.entries, id)
		}
	}
	return nil
}

// keep keeps a decision of size bytes, in place of any other one if there is no room.
func (c *decisions) keep(q *guest.Question, d *decision, from *instance, size int, now time.Time) {
	if size > maxKeptDecision {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries, c.keys = make(map[[32]byte]keptDecision), make(map[guest.Hook][][]string)
	}
	keys := slices.DeleteFunc(c.keys[q.Hook], func(k []string) bool { return slices.Equal(k, d.Key) })
	if len(keys) == maxKeys {
		keys = slices.Delete(keys, 0, 1)
	}
	c.keys[q.Hook] = append(keys, d.Key)
	if len(c.entries) >= maxDecisions {
		for id := range c.entries {
			delete(c.entries, id)
			break
		}
	}
	c.entries[keyID(q, d.Key)] = keptDecision{d, now.Add(d.TTL), from}
}

// keyID is a hash of the hook, the fields and what the question has for them. No two
// questions have the same one unless all of that is equal.
func keyID(q *guest.Question, key []string) (id [32]byte) {
	b := appendText(nil, string(q.Hook))
	for _, field := range key {
		values, _ := keyField(q, field)
		b = appendText(b, field)
		b = binary.AppendUvarint(b, uint64(len(values)))
		for _, v := range values {
			b = appendText(b, v)
		}
	}
	return sha256.Sum256(b)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// tlsFacts returns what a Question has of TLS.
func tlsFacts(c interface{ ConnectionState() *tls.ConnectionState }) (on bool, name, peer string, verified bool) {
	s := c.ConnectionState()
	if s == nil {
		return false, "", "", false
	}
	if len(s.PeerCertificates) > 0 {
		peer = s.PeerCertificates[0].Subject.String()
	}
	return true, s.ServerName, peer, len(s.VerifiedChains) > 0
}
