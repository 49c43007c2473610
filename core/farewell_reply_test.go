package tp

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// replyWire is a protocol over which the peer may be an older one, so that CONTROL is not
// sent.
type replyWire struct{ socket.FrameAppender }

func (replyWire) CarriesControl() bool { return false }
func (replyWire) CarriesBye() bool     { return true }

func byReply(cfg *PeerConfig) {
	cfg.Protocol = func(rw io.ReadWriter) socket.Proto { return replyWire{testwire.New(rw).(socket.FrameAppender)} }
}

// Where CONTROL is not carried, the farewell is a REPLY to no call.
func TestFarewellThatIsAReply(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(*session, *rawEnd)
		want string
		rerr string
	}{
		{"drained", func(s *session, _ *rawEnd) { s.Close() }, "X-Bye=0", ""},
		{"with an error", func(s *session, _ *rawEnd) { s.CloseWith(NewRerror(CodeConflict, "Conflict", "why")) }, "X-Bye=0", "409 Conflict: why"},
		{"cut off", func(s *session, e *rawEnd) {
			e.send(TypeCall, 8, "/stuck", "x")
			s.Close()
			pass(5 * time.Second)
		}, "X-Bye", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, byReply, func(t *testing.T, w *world) {
				s, end := w.serveRaw(w.server)
				test.end(s, end)
				m := end.receive()
				if r := m.Rerror(); m.Mtype() != TypeReply || m.Seq() != 0 || m.ServiceMethod() != "" || test.rerr == "" && r.HasError() || test.rerr != "" && r.Err().Error() != test.rerr {
					t.Errorf("received %s %d %q, %s; want a REPLY to no call, with %q", TypeText(m.Mtype()), m.Seq(), m.ServiceMethod(), r, test.rerr)
				}
				m.Meta().Del(socket.MetaReplyError)
				if got := m.Meta().String(); got != test.want {
					t.Errorf("metadata %s; want %s", got, test.want)
				}
				if m, err := end.read(); err == nil {
					t.Errorf("received %s after the farewell", TypeText(m.Mtype()))
				}
				w.release()
			})
		})
	}
}

// A side that dials, and is not called, does not bother an older peer with it.
func TestFarewellOfASideThatIsNotCalled(t *testing.T) {
	for name, called := range map[string]bool{"called": true, "not called": false} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, byReply, func(t *testing.T, w *world) {
				addr, accept := rawServer(t, w)
				sess, r := w.client.Dial(addr)
				if r != nil {
					t.Fatal(r)
				}
				end := accept()
				if called {
					end.send(TypeCall, 1, "/block", "x")
				}
				begin(sess.Close)
				synctest.Wait()
				if called {
					end.send(TypeCall, 2, "/echo", "x")
					wantRerror(t, end.receive().Rerror(), CodeConnClosed, "draining")
				}
				w.release()
				if called {
					end.receive()
					if m := end.receive(); m.Meta().String() != "X-Bye=0" {
						t.Errorf("received %s with %s; want the farewell", TypeText(m.Mtype()), m.Meta())
					}
				}
				pass(time.Second)
				if m, err := end.read(); err == nil {
					t.Errorf("received %s with %s; want the end", TypeText(m.Mtype()), m.Meta())
				}
			})
		})
	}
}

// What the other side learns from it.
func TestReplyThatIsAFarewell(t *testing.T) {
	for _, test := range []struct {
		name  string
		seq   int32
		set   []MessageSetting
		again []bool // the calls 1 and 2
		ends  bool   // the session ends
	}{
		{"all answered", 0, []MessageSetting{WithAddMeta(MetaBye, "0")}, []bool{true, true}, false},
		{"the first was taken", 0, []MessageSetting{WithAddMeta(MetaBye, "1")}, []bool{false, true}, false},
		{"no number", 0, []MessageSetting{WithAddMeta(MetaBye, "")}, []bool{false, false}, false},
		{"the session is not to come back", 0, []MessageSetting{WithAddMeta(MetaBye, "1"), WithRerror(NewRerror(409, "Conflict", "why"))}, []bool{false, false}, true},
		{"a reply to nothing", 0, nil, []bool{false, false}, false},
		{"a reply to a call that has ended", 77, []MessageSetting{WithAddMeta(MetaBye, "0")}, []bool{false, false}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, redials(-1), func(t *testing.T, w *world) {
				addr, accept := rawServer(t, w)
				c, r := w.client.Dial(addr)
				if r != nil {
					t.Fatal(r)
				}
				end := accept()
				calls := []<-chan outcome[CallCmd]{call(c, "/x", "1"), call(c, "/x", "2")}
				end.receive()
				end.receive()
				end.send(TypeReply, test.seq, "", "", test.set...)
				if err := end.conn.(*memnet.Conn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				pass(time.Second)
				if test.ends {
					wantState(t, c.(*session), closed)
					wantRerror(t, ended(t, calls[0]).v.Rerror(), CodeConnClosed, "409 Conflict: why")
					return
				}
				next := accept()
				for i, again := range test.again {
					if !again {
						wantNotRun(t, ended(t, calls[i]).v.Rerror(), false)
						continue
					}
					next.send(TypeReply, next.receive().Seq(), "", "done")
				}
				for i, again := range test.again {
					if again {
						wantReply(t, ended(t, calls[i]).v, "done")
					}
				}
				next.silent()
			})
		})
	}
}
