package httproto

// origin is what the response to a request needs to know of it.
type origin struct {
	seq    int32 // its X-Seq, if it had one
	hasSeq bool
	close  bool    // the connection ends with the response
	keep   bool    // "Connection: keep-alive", for an HTTP/1.0 client
	size   uint32  // of the request
	head   bool    // the response has no body
	gzip   bool    // the client takes gzip
	sender Dialect // by the User-Agent; 0 for a client that is no peer

	status  int    // not 0: the protocol's own answer
	hint    header // of that answer
	noCodec string // why no codec reads the body; "" if one does
}

// header is one line of a response.
type header struct{ name, value string }

// turns are the requests that wait for their response and have a number of the
// protocol's own: those without X-Seq, which are answered in their order, and
// those whose response needs to know more than that X-Seq.
type turns struct {
	open    map[int32]origin
	last    int32  // number given: negative, as no peer's X-Seq is
	size    uint64 // of these requests, in bytes
	expects bool   // the request being read waits for "100 Continue" until none is open
}

// opened keeps what the response needs, and returns the number for it; false if
// too much waits for a response: a thousand requests, or a message's limit of
// bytes. A request that is the connection's last is always taken.
func (p *httpProto) opened(o origin, limit uint32) (seq int32, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := &p.turns
	n := len(t.open)
	if !o.close && n > 0 && (n >= maxOpen || t.size+uint64(o.size) > uint64(limit)) {
		return 0, false
	}
	t.size += uint64(o.size)
	if t.open == nil {
		t.open = make(map[int32]origin)
	}
	for taken := true; taken; _, taken = t.open[t.last] {
		if t.last--; t.last >= 0 { // below the smallest
			t.last = -1
		}
	}
	t.open[t.last] = o
	return t.last, true
}

// origin returns what a response needs to know.
func (p *httpProto) origin(seq int32) (o origin, ok bool) {
	if seq >= 0 {
		return origin{seq: seq, hasSeq: true, gzip: true, sender: Dialect(p.peer.Load())}, true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	o, ok = p.turns.open[seq]
	return o, ok
}

// onlyOpen reports whether the request with this number, of the protocol's own, is the only
// one that waits for its response. Requests with an X-Seq are not counted: their client
// gets all responses, in any order, and then the end of the connection.
func (p *httpProto) onlyOpen(seq int32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return seq < 0 && len(p.turns.open) == 1
}

const continue100 = "HTTP/1.1 100 Continue\r\n\r\n"

// awaitContinue asks for "100 Continue" on behalf of the request being read. It returns
// true if that can be sent at once; otherwise it follows the last of the responses
// that are still due, so that a client which reads them in order finds it in its
// turn.
func (p *httpProto) awaitContinue() (now bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turns.expects = len(p.turns.open) > 0
	return !p.turns.expects
}

// bodyArrived takes back what awaitContinue asked for: the body is there, or never will be.
func (p *httpProto) bodyArrived() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turns.expects = false
}

// answered forgets the request of a complete response, and appends to that what
// the next request waits for.
func (p *httpProto) answered(frame []byte, seq int32, o *origin) []byte {
	if seq < 0 {
		p.mu.Lock()
		defer p.mu.Unlock()
		t := &p.turns
		delete(t.open, seq)
		t.size -= uint64(o.size)
		if t.expects && len(t.open) == 0 {
			t.expects = false
			frame = append(frame, continue100...)
		}
	}
	if o.close {
		p.ended.Store(true)
	}
	return frame
}

// calls matches responses without X-Seq, as servers that are no peers send them.
// Without it a response can be matched only while one CALL is under way.
type calls struct {
	echo    bool // a response had its X-Seq: nothing needs to be counted
	pending int
	seq     int32 // of the last CALL
}

// called counts a CALL.
func (p *httpProto) called(seq int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.calls.echo {
		p.calls.pending++
		p.calls.seq = seq
	}
}

// oldest returns the seq of the last CALL, and how many calls wait for a response
// that does not name it; one of them has it now.
func (p *httpProto) oldest() (seq int32, pending int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &p.calls
	pending = c.pending
	if c.echo {
		pending = 0
	}
	c.pending = max(c.pending-1, 0)
	return c.seq, pending
}

// echoed notes that the other side names the request a response belongs to.
func (p *httpProto) echoed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls.echo = true
}
