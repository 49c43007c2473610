package tp

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/inbox"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// swelling is a codec of texts that says that a value takes swellTo times as much as its
// body.
type swelling struct{ testwire.TextCodec }

const (
	swellingID = 243
	swellTo    = 10
)

func (swelling) ID() byte     { return swellingID }
func (swelling) Name() string { return "test swelling" }

func (c swelling) DecodeMeasured(data []byte, v any, _ codec.Mode, a codec.Account) error {
	if err := a.Reserve(swellTo * len(data)); err != nil {
		return err
	}
	return c.Unmarshal(data, v)
}

func init() { codec.Register(swelling{}) }

// What an argument becomes once decoded counts until its handler has ended: another one
// waits for room, and one that is larger than all of it is refused.
func TestBudgetOfDecodedArguments(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.ReadMemory, cfg.SessionMemory = 3<<20, 3<<20 }, func(t *testing.T, w *world) {
		HandlePush(w.server, "/held", func(PushCtx, *string) error {
			w.log.add("began")
			<-w.gate
			return nil
		})
		m := w.server.env.memory
		s, end := w.serveRaw(w.server)
		body := strings.Repeat("x", 70<<10)
		end.send(TypePush, 1, "/held", body, WithBodyCodec(swellingID))
		synctest.Wait()
		if used := m.Used(); used < swellTo*70<<10 || used > 11*70<<10+drawStep {
			t.Errorf("%d bytes are in the account while the handler has its argument; want ten times its 70 KiB", used)
		}
		end.send(TypePush, 2, "/held", body, WithBodyCodec(swellingID))
		end.send(TypePush, 3, "/held", body, WithBodyCodec(swellingID))
		synctest.Wait()
		w.log.want(t, "began", "began")
		if used := m.Used(); used > 2<<20 {
			t.Errorf("%d bytes are in the account, over its 2 MiB", used)
		}
		w.release()
		synctest.Wait()
		w.log.want(t, "began")
		wantAccountsEmpty(t, s)

		end.send(TypeCall, 4, "/echo", strings.Repeat("x", 300<<10), WithBodyCodec(swellingID))
		wantRerror(t, end.receive().Rerror(), CodeBadMessage, "too complex", "PeerConfig.ReadMemory", "2097152")
		end.send(TypeCall, 5, "/echo", body, WithBodyCodec(swellingID))
		wantRerror(t, end.receive().Rerror(), 0)
		synctest.Wait()
		wantAccountsEmpty(t, s)
	})
}

// Requests that wait for memory for their replies are not in each other's way, even if what
// they hold is all that their session may.
func TestBudgetOfRepliesDoesNotDeadlock(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.SessionMemory, cfg.ReadMemory = 4<<20, 9<<20 }, func(t *testing.T, w *world) {
		reply := strings.Repeat("r", 2<<20)
		HandleCall(w.server, "/large", func(CallCtx, *string) (string, error) { <-w.gate; return reply, nil })
		s, end := w.serveRaw(w.server)
		const n = 60
		for i := range n {
			end.start(TypeCall, int32(i+1), "/large", strings.Repeat("x", 60<<10))
		}
		w.release()
		began := time.Now()
		for range n {
			wantRerror(t, end.receive().Rerror(), 0)
		}
		if took := time.Since(began); took > n*2*time.Second {
			t.Errorf("%d replies took %v", n, took)
		}
		synctest.Wait()
		wantAccountsEmpty(t, s)
	})
}

// A large reply counts from its arrival until its caller has it, and a large message of
// this side while it is packed.
func TestBudgetOfCaller(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		const size = 1 << 20
		client := w.dial()
		memory := w.client.env.memory
		var during int64
		HandleCall(w.server, "/size", func(_ CallCtx, arg *string) (string, error) { return strings.Repeat("r", size), nil })
		see := codecHook{func() { during = memory.Used() }}
		codec.Replace(see)
		cmd := client.Call("/size", "x", new(string), WithBodyCodec(see.ID()))
		wantRerror(t, cmd.Rerror(), 0)
		if during < size || during > 2*size {
			t.Errorf("%d bytes are in the account while the reply is decoded; want its 1 MiB", during)
		}
		synctest.Wait()
		wantAccountsEmpty(t, client)
		wantAccountsEmpty(t, w.other(client))
	})
}

// codecHook is a codec of texts that calls a function while it decodes.
type codecHook struct{ decoding func() }

func (codecHook) ID() byte                      { return 242 }
func (codecHook) Name() string                  { return "test hook" }
func (codecHook) Marshal(v any) ([]byte, error) { return testwire.TextCodec{}.Marshal(v) }
func (c codecHook) Unmarshal(data []byte, v any) error {
	c.decoding()
	return testwire.TextCodec{}.Unmarshal(data, v)
}

// A reply that waits for memory to be decoded ends with its call's context or with the
// session, whichever is first.
func TestReplyWaitsForMemory(t *testing.T) {
	const limit = 1 << 20
	for _, test := range []struct {
		name string
		end  func(s *session, cancel context.CancelFunc)
		code int32
	}{
		{"the context ends", func(_ *session, cancel context.CancelFunc) { cancel() }, CodeCanceled},
		{"the session ends", func(s *session, _ context.CancelFunc) { s.Close() }, CodeConnClosed},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(cfg *PeerConfig) { cfg.ReadMemory = limit }, func(t *testing.T, w *world) {
				c, _ := w.pair()
				all := c.env.memory.Claim(inbox.ToBegin, 0, 2*limit) // beyond the limit, as no other claim is meanwhile
				defer all.Free()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				cmd := &callCmd{sess: c, result: new(string), inCodec: swellingID, large: &largeBody{raw: make([]byte, 50<<10)}}
				cmd.out.SetContext(ctx)
				decoding := begin(cmd.decodeReply)
				pass(time.Minute)
				wantWaiting(t, decoding)
				test.end(c, cancel)
				wantRerror(t, ended(t, decoding).v, test.code)
			})
		})
	}
}

// steps is a codec of texts that reserves memory twice.
type steps struct {
	testwire.TextCodec
	reserved func()
}

func (steps) ID() byte     { return 241 }
func (steps) Name() string { return "test steps" }

func (c steps) DecodeMeasured(data []byte, v any, _ codec.Mode, a codec.Account) error {
	for range 2 {
		if err := a.Reserve(len(data)); err != nil {
			return err
		}
	}
	c.reserved()
	return c.Unmarshal(data, v)
}

// A codec may reserve memory in several steps: all of them count, and are given back.
func TestReplyReservesInSteps(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		const size = 1 << 20
		client := w.dial()
		memory := w.client.env.memory
		var during int64
		HandleCall(w.server, "/size", func(_ CallCtx, arg *string) (string, error) { return strings.Repeat("r", size), nil })
		c := steps{reserved: func() { during = memory.Used() }}
		codec.Replace(c)
		cmd := client.Call("/size", "x", new(string), WithBodyCodec(c.ID()))
		wantRerror(t, cmd.Rerror(), 0)
		if during < 3*size {
			t.Errorf("%d bytes are in the account; want 3 MiB and more, for the reply and what was reserved twice", during)
		}
		synctest.Wait()
		wantAccountsEmpty(t, client)
	})
}
