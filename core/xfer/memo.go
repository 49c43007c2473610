package xfer

import (
	"bytes"
	"sync"
)

// memoSize is how many results a Memo keeps: a program has few protocols, and a message
// that is sent to many sessions has the same payload in each.
const memoSize = 4

// Memo keeps what pipes have made of a few payloads, so that a message that is sent to many
// sessions goes through its filters once. It keeps the payloads too, and knows its results
// by them and by the ids of the filters. The zero value is empty. It may be used
// concurrently.
type Memo struct {
	mu      sync.Mutex // guards results
	results []packed   // the latest last, memoSize at most
}

type packed struct {
	ids     string
	payload []byte
	result  []byte
}

// find returns what was made of payload, nil if that is not known.
func (m *Memo) find(ids, payload []byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.results {
		if p.ids == string(ids) && bytes.Equal(p.payload, payload) {
			return p.result
		}
	}
	return nil
}

// add keeps copies of payload and result.
func (m *Memo) add(ids, payload, result []byte) {
	p := packed{string(ids), bytes.Clone(payload), bytes.Clone(result)}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.results) == memoSize {
		m.results = append(m.results[:0], m.results[1:]...)
	}
	m.results = append(m.results, p)
}
