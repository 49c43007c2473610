package framing

import (
	"encoding/binary"
	"io"
	"math"

	"github.com/teleport-go/teleport/core/socket"
)

// Format describes a protocol whose frames are four bytes of size, big endian, the
// mark of the dialect if it has one, and what [Writer.Payload] appends. It is
// shared by all connections and never changes.
type Format[D ~uint8] struct {
	ID   byte   // Version returns it
	Name string // Version returns it, and errors begin with it
	// Dialects is indexed by dialect. Dialect 1 is the one that is written until a
	// frame has arrived, where the connection was given none.
	Dialects []Dialect
	// WholeSize says that the size on the wire includes its own four bytes.
	WholeSize bool
	// AppendPayload appends the payload of m in dialect d. On an error the slice it
	// returns may hold anything. It is called concurrently.
	AppendPayload func(dst []byte, m socket.Message, d D) ([]byte, error)
	// Begins reports whether a payload of any dialect can begin with this byte. If it
	// is not nil, the first frame that a connection receives is an error, before the
	// rest of it is awaited, if it begins otherwise and looks like one of another
	// protocol; see [socket.LooksLike]. Later frames are not examined.
	Begins func(first byte) bool
	// Hint is what Proto.Hint returns; see there. It may be empty.
	Hint string
	// HintAfter is the number of bytes from which a peer of another dialect notices.
	HintAfter uint32
}

// Proto is what the protocols of a [Format] have in common: a protocol embeds it and
// adds Unpack. The zero value is not ready: Init comes first.
type Proto[D ~uint8] struct {
	In  Reader
	Out Writer
	Negotiation[D]
	sent   reaction
	format *Format[D]
}

// Init makes p the protocol of the connection rw, which was given the dialect named,
// or 0.
func (p *Proto[D]) Init(f *Format[D], rw io.ReadWriter, named D) {
	p.format = f
	p.In, p.Out = NewReader(f.Name, rw), NewWriter(f.Name, rw)
	p.In.begins = f.Begins
	for _, d := range f.Dialects {
		p.In.mark = max(p.In.mark, d.Mark)
	}
	p.Begin(rw, named, 1)
	if f.Hint == "" || !p.Dialed() || p.Current() != 1 {
		p.sent.ignore()
	}
}

// Version returns ID and Name of the format.
func (p *Proto[D]) Version() (byte, string) { return p.format.ID, p.format.Name }

// Hint returns the Hint of the format if the peer has probably closed the
// connection because it does not understand dialect 1: this side has dialled and
// writes that dialect because none was named, and the peer closed within two
// seconds of the first HintAfter bytes. In all other cases it returns "": a peer
// that closes later has another reason.
func (p *Proto[D]) Hint() string {
	if p.sent.recent() {
		return p.format.Hint
	}
	return ""
}

// Pack writes the frame of m with one Write.
func (p *Proto[D]) Pack(m socket.Message) error { return p.Out.Pack(p, m) }

// AppendFrame appends the frame of m to dst. It may be called concurrently.
//
// A protocol may have a faster one of its own for messages without filters that calls
// its AppendPayload directly and then Finish: the calls in between take a twentieth of
// the time of a small frame.
func (p *Proto[D]) AppendFrame(dst []byte, m socket.Message) ([]byte, error) {
	f, d := p.format, p.Current()
	if !Has(f.Dialects, d) {
		return dst, Errors(f.Name).NoDialect(uint8(d))
	}
	out := append(dst, 0, 0, 0, 0) // the size
	if mark := f.Dialects[d].Mark; mark != 0 {
		out = append(out, mark)
	}
	out, err := p.Out.Payload(out, m, func(b []byte) ([]byte, error) { return f.AppendPayload(b, m, d) })
	if err != nil {
		return dst, err
	}
	if err := p.Finish(out, len(dst), m); err != nil {
		return dst, err
	}
	return out, nil
}

// Finish writes the size of the frame that begins at out[at] and ends with out, and
// sets the size of the message, which may refuse it.
func (p *Proto[D]) Finish(out []byte, at int, m socket.Message) error {
	n := len(out) - at
	if int64(n) > math.MaxUint32 {
		return p.Out.tooLarge(n)
	}
	size := uint32(n)
	if err := socket.EnvelopeOf(m).SetSize(size); err != nil {
		return err
	}
	if p.sent.pending() {
		p.sent.add(size, p.format.HintAfter)
	}
	if !p.format.WholeSize {
		size -= 4
	}
	binary.BigEndian.PutUint32(out[at:], size)
	return nil
}

// carryVersion begins the state of a Proto.
const carryVersion = 1

// AppendState is that of a [socket.Carrier]. A protocol that knows more of a connection has
// one of its own, around this, and a Restore.
func (p *Proto[D]) AppendState(dst []byte) ([]byte, error) {
	return p.AppendDialect(append(dst, carryVersion)), nil
}

// Restore is that of a [socket.Carrier].
func (p *Proto[D]) Restore(state []byte) error {
	if len(state) != 3 || state[0] != carryVersion {
		return Errors(p.format.Name).NoState(state)
	}
	if _, ok := p.RestoreDialect(state[1:], p.format.Dialects); !ok {
		return Errors(p.format.Name).NoState(state)
	}
	if p.Settled() != 0 {
		p.In.begins = nil
	}
	p.sent.ignore()
	return nil
}
