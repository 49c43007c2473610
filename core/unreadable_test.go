package tp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/xfer"
)

// Messages that have arrived and cannot be read: no call waits for one for ever.

// growFilter unpacks a body to a thousand times its length.
type growFilter struct{}

func (growFilter) ID() byte     { return 203 }
func (growFilter) Name() string { return "testgrow" }

func (growFilter) OnPack(b []byte) ([]byte, error)   { return bytes.Clone(b[:1+len(b)/1000]), nil }
func (growFilter) OnUnpack(b []byte) ([]byte, error) { return bytes.Repeat(b, 1000), nil }

var registerGrow = sync.OnceFunc(func() { xfer.Register(growFilter{}) })

// frame is one of testwire: what comes behind the size.
func frame(behind ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(4+len(behind))), behind...)
}

// cutHeader is a message whose method is longer than the frame: its number and type are
// known.
func cutHeader(mtype byte, seq int32) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0}, uint32(seq))
	return frame(append(b, mtype, testwire.Text, 0, 0, 0, 99)...)
}

func TestUnreadableReply(t *testing.T) {
	registerGrow()
	for _, test := range []struct {
		name  string
		reply func(end *rawEnd, seq int32)
		code  int32
		words []string
		ends  bool // with the session
	}{
		{"unknown filter", func(end *rawEnd, _ int32) { end.conn.Write(frame(1, 66, 0, 0)) },
			CodeConnClosed, []string{"cannot be read", "unsupported transfer filter id: 66"}, true},
		{"damaged", func(end *rawEnd, seq int32) { end.conn.Write(frame(1, testwire.Sum, 1, 2, 3, 4, 5, 6, 7, 8, 9)) },
			CodeConnClosed, []string{"cannot be read", "testsum"}, true},
		{"a filter that fails", func(end *rawEnd, seq int32) {
			end.send(TypeReply, seq, "", "x", WithXferPipe(testwire.Fail))
		}, CodeConnClosed, []string{"cannot be read", "never unpacks"}, true},
		{"over the limit once unpacked", func(end *rawEnd, seq int32) {
			end.send(TypeReply, seq, "", string(make([]byte, 5000)), WithXferPipe(203))
		}, CodeConnClosed, []string{"testgrow", "the limit is 4096"}, true},
		{"another type", func(end *rawEnd, seq int32) { end.send(77, seq, "", "x") },
			CodeBadMessage, []string{"type 77"}, false},
		{"type of an authentication", func(end *rawEnd, seq int32) { end.send(TypeAuthReply, seq, "", "x") },
			CodeBadMessage, []string{"type 5"}, false},
		{"number known", func(end *rawEnd, seq int32) { end.conn.Write(cutHeader(TypeReply, seq)) },
			CodeBadMessage, []string{"longer than the frame"}, false},
		{"unknown codec", func(end *rawEnd, seq int32) { end.send(TypeReply, seq, "", "x", WithBodyCodec(99)) },
			CodeBadMessage, []string{"99"}, false},
	} {
		for _, async := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/async %v", test.name, async), func(t *testing.T) {
				inWorld(t, func(cfg *PeerConfig) { cfg.MessageSizeLimit = 4096 }, func(t *testing.T, w *world) {
					s, end := w.serveRaw(w.server)
					ch := begin(func() CallCmd {
						if async {
							cmds := make(chan CallCmd, 1)
							s.AsyncCall("/x", "y", new(string), cmds)
							return <-cmds
						}
						return s.Call("/x", "y", new(string))
					})
					seq := end.receive().Seq()
					test.reply(end, seq)
					wantRerror(t, ended(t, ch).v.Rerror(), test.code, test.words...)
					if !test.ends {
						wantReady(t, s)
						return
					}
					wantState(t, s, closed)
					wantReason(t, s, SideLocal, test.words[len(test.words)-1])
				})
			})
		}
	}
}

func TestUnreadableRequest(t *testing.T) {
	registerGrow()
	large := string(make([]byte, 5000))
	for _, test := range []struct {
		name string
		send func(end *rawEnd)
		code int32 // of the reply; 0: there is none
		ends bool
		log  string // if there is neither
	}{
		{"CALL over the limit once unpacked", func(end *rawEnd) { end.send(TypeCall, 1, "/echo", large, WithXferPipe(203)) }, 0, true, ""},
		{"PUSH over the limit once unpacked", func(end *rawEnd) { end.send(TypePush, 1, "/note", large, WithXferPipe(203)) }, 0, true, ""},
		{"CALL whose number is known", func(end *rawEnd) { end.conn.Write(cutHeader(TypeCall, 7)) }, CodeBadMessage, false, ""},
		{"PUSH that is known as one", func(end *rawEnd) { end.conn.Write(cutHeader(TypePush, 7)) }, 0, false, "longer than the frame"},
		{"unknown, and no call waits", func(end *rawEnd) { end.conn.Write(frame(1, 66, 0, 0)) }, 0, false, "filter id: 66"},
		{"another type", func(end *rawEnd) { end.send(77, 1, "/echo", "x") }, 0, false, "type 77"},
	} {
		t.Run(test.name, func(t *testing.T) {
			log := &lines{Handler: slog.DiscardHandler}
			inWorld(t, func(cfg *PeerConfig) { cfg.MessageSizeLimit, cfg.Logger = 4096, slog.New(log) }, func(t *testing.T, w *world) {
				s, end := w.serveRaw(w.server)
				test.send(end)
				synctest.Wait()
				if test.ends {
					wantState(t, s, closed)
					wantReason(t, s, SideLocal, "the limit is 4096")
					return
				}
				if test.code != 0 {
					wantRerror(t, end.receive().Rerror(), test.code, "longer than the frame")
				} else {
					end.silent()
				}
				log.mu.Lock()
				if got := fmt.Sprint(log.warns); test.log != "" && !containsAll(got, test.log) {
					t.Errorf("the log has %s; want a WARN with %q", got, test.log)
				}
				log.mu.Unlock()
				wantReady(t, s)
				if n := s.work.running(); n != 0 {
					t.Errorf("%d handlers run; want none", n)
				}
			})
		})
	}
}

// A message of another type that has the number of no pending call does no harm to those
// that are, nor does one that has a numbering of its own.
func TestAnotherTypeEndsNoOtherCall(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		s, end := w.serveRaw(w.server)
		ch := call(s, "/x", "y")
		seq := end.receive().Seq()
		end.send(77, seq+1, "", "z")
		end.send(TypeAuthCall, seq, "", "z")
		if m := end.receive(); m.Mtype() != TypeAuthReply || m.Seq() != seq {
			t.Errorf("received %s of seq %d; want AUTH_REPLY of %d", TypeText(m.Mtype()), m.Seq(), seq)
		}
		wantWaiting(t, ch)
		end.send(TypeReply, seq, "", "well")
		wantReply(t, ended(t, ch).v, "well")
	})
}

// An AUTH_CALL that comes to a ready session, or cannot be read, is answered: its sender
// waits for that. No hook sees it, and its body is not decoded.
func TestLateAuthCall(t *testing.T) {
	const late = "AUTH_CALL: this peer asks for no authentication, or has finished it"
	for _, test := range []struct {
		name   string
		send   func(end *rawEnd)
		code   int32
		reason string
	}{
		{"ready", func(end *rawEnd) { end.send(TypeAuthCall, 7, "", "token") }, CodeMtypeNotAllowed, late},
		{"of a handler's method", func(end *rawEnd) { end.send(TypeAuthCall, 7, "/echo", "token") }, CodeMtypeNotAllowed, late},
		{"of a codec that is unknown", func(end *rawEnd) { end.send(TypeAuthCall, 7, "", "token", WithBodyCodec(99)) }, CodeMtypeNotAllowed, late},
		{"cut", func(end *rawEnd) { end.conn.Write(cutHeader(TypeAuthCall, 7)) }, CodeBadMessage, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				hooked := false
				see := func(WriteCtx) *Rerror { hooked = true; return nil }
				p := w.peer(nil, &PluginImpl{PluginName: "sees", OnPreWriteReply: see, OnPostWriteReply: see,
					OnPostExchange: func(PreCtx, *Rerror) { hooked = true }})
				s, end := w.serveRaw(p)
				test.send(end)
				m := end.receive()
				if m.Mtype() != TypeAuthReply || m.Seq() != 7 || len(m.RawBody()) != 0 {
					t.Errorf("received %s of seq %d, body %q; want AUTH_REPLY of 7 without a body", TypeText(m.Mtype()), m.Seq(), m.RawBody())
				}
				wantRerror(t, m.Rerror(), test.code)
				if test.reason != "" && m.Rerror().Reason != test.reason {
					t.Errorf("reason %q; want %q", m.Rerror().Reason, test.reason)
				}
				wantReady(t, s)
				if n := s.work.running(); n != 0 || hooked {
					t.Errorf("%d handlers run, hooks ran: %v; want none", n, hooked)
				}
			})
		})
	}
}
