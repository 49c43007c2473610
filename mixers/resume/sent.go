package resume

// sent holds the records that the other side has not acknowledged: the bytes of the
// positions base to end, in a ring.
type sent struct {
	ring      []byte // the byte of position p is ring[(p-origin)%len(ring)]
	origin    uint64 // moved while there are no bytes: then those of a write lie in one piece
	base, end uint64
	acked     uint64 // at least base: what is lent stays
	max       int    // length of ring at most

	// from has returned bytes that are in use, of this position and behind.
	lent   bool
	lentAt uint64
}

// leastRing is the length of the smallest ring.
const leastRing = 1 << 10

func (s *sent) len() int { return int(s.end - s.base) }

// room is how many bytes append may take.
func (s *sent) room() int { return s.max - s.len() }

// append appends p, which is not empty, and for which there must be room.
func (s *sent) append(p []byte) {
	if s.base == s.end && !s.lent {
		s.origin = s.base
	}
	if n := s.len() + len(p); n > len(s.ring) {
		s.resize(min(max(2*len(s.ring), n, leastRing), s.max))
	}
	s.write(s.end, p)
	s.end += uint64(len(p))
}

// write writes p at a position.
func (s *sent) write(at uint64, p []byte) {
	n := copy(s.ring[s.index(at):], p)
	copy(s.ring, p[n:])
}

// index is where the byte of a position is.
func (s *sent) index(p uint64) uint64 { return (p - s.origin) % uint64(len(s.ring)) }

// resize moves the bytes to a ring of n bytes. Those that are lent stay valid.
func (s *sent) resize(n int) {
	old := *s
	s.ring, s.origin = make([]byte, n), s.base
	for p := s.base; p < s.end; {
		b := old.part(p)
		s.write(p, b)
		p += uint64(len(b))
	}
}

// part returns bytes from a position on: at least one, if there are some.
func (s *sent) part(p uint64) []byte {
	if p == s.end {
		return nil
	}
	at := s.index(p)
	return s.ring[at:min(uint64(len(s.ring)), at+s.end-p)]
}

// lend is part, and keeps the bytes until release.
func (s *sent) lend(p uint64) []byte {
	s.lent, s.lentAt = true, p
	return s.part(p)
}

func (s *sent) release() {
	s.lent = false
	s.drop(s.acked)
}

// drop forgets the bytes before p.
func (s *sent) drop(p uint64) {
	s.acked = p
	if s.lent && s.lentAt < p {
		p = s.lentAt
	}
	s.base = max(s.base, p)
}

// shrink gives back memory that is not needed: of more than leastRing, the ring keeps less
// than twice what is in it.
func (s *sent) shrink() {
	switch n := s.len(); {
	case n == 0:
		s.ring = nil
	case len(s.ring) > leastRing && n <= len(s.ring)/2:
		s.resize(max(n, leastRing))
	}
}
