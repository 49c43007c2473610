package tp

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/codec"
)

// slowCodec is a codec for texts that are their first letter once decoded. Decoding large
// ones waits.
type slowCodec struct{}

const slowID = 246

func init() { codec.Register(slowCodec{}) }

// decodings says how many arguments slowCodec has begun to decode, and what it waits for.
var decodings struct {
	begun atomic.Int64
	wait  func()
}

func (slowCodec) ID() byte     { return slowID }
func (slowCodec) Name() string { return "test slow" }

func (slowCodec) Marshal(v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return []byte(v), nil
	case *string:
		return []byte(*v), nil
	}
	return nil, fmt.Errorf("test slow: %T", v)
}

func (slowCodec) Unmarshal(data []byte, v any) error {
	text, ok := v.(*string)
	if !ok {
		return fmt.Errorf("test slow: %T", v)
	}
	if len(data) > decodeInReader {
		decodings.begun.Add(1)
		decodings.wait()
	}
	*text = string(data[:1])
	return nil
}

// inDecodings runs f in a world where decoding a large argument waits for proceed, and then
// does what end does.
func inDecodings(t *testing.T, end func(), f func(t *testing.T, w *world, c *session, proceed func())) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		next := make(chan struct{})
		proceed := sync.OnceFunc(func() { close(next) })
		defer proceed()
		decodings.begun.Store(0)
		decodings.wait = func() { <-next; end() }
		HandleCall(w.server, "/size", func(_ CallCtx, b *[]byte) (string, error) { return fmt.Sprint(len(*b)), nil })
		f(t, w, w.dial(), proceed)
	})
}

var largeArg = strings.Repeat("x", decodeInReader+1)

// wantDecodings wants so many decodings to have begun.
func wantDecodings(t *testing.T, want int) {
	t.Helper()
	synctest.Wait()
	if got := int(decodings.begun.Load()); got != want {
		t.Errorf("%d decodings have begun; want %d", got, want)
	}
}

func TestDecodeLarge(t *testing.T) {
	most := runtime.GOMAXPROCS(0)
	large := func(c *session, n int, set ...MessageSetting) (cmds chan CallCmd) {
		cmds = make(chan CallCmd, n)
		for range n {
			c.AsyncCall("/echo", largeArg, new(string), cmds, append(set, WithBodyCodec(slowID))...)
		}
		return cmds
	}
	for _, test := range []struct {
		name string
		end  func()
		code int32
	}{
		{"end", func() {}, 0},
		{"panic", func() { panic("decoding") }, CodeBadMessage},
		{"end their goroutines", runtime.Goexit, CodeInternalServerError},
	} {
		t.Run("as many as processors, and others when they "+test.name, func(t *testing.T) {
			inDecodings(t, test.end, func(t *testing.T, w *world, c *session, proceed func()) {
				cmds := large(c, 3*most)
				wantDecodings(t, most)
				wantReply(t, c.Call("/echo", "small", new(string), WithBodyCodec(slowID)), "s")
				wantReply(t, c.Call("/size", largeArg, new(string), WithBodyCodec(slowID)), fmt.Sprint(len(largeArg))[:1])
				wantDecodings(t, most)
				proceed()
				wantDecodings(t, 3*most)
				for range 3 * most {
					code := int32(0)
					if r := (<-cmds).Rerror(); r.HasError() {
						code = r.Code
					}
					if code != test.code {
						t.Errorf("code %d; want %d", code, test.code)
					}
				}
			})
		})
	}
	t.Run("as many again for those that wait for longer than a second", func(t *testing.T) {
		inDecodings(t, func() {}, func(t *testing.T, w *world, c *session, _ func()) {
			large(c, 3*most)
			wantDecodings(t, most)
			pass(decodeLease)
			wantDecodings(t, 2*most)
		})
	})
	t.Run("none whose caller has left", func(t *testing.T) {
		inDecodings(t, func() {}, func(t *testing.T, w *world, c *session, _ func()) {
			large(c, most)
			wantDecodings(t, most)
			ctx, cancel := context.WithTimeout(t.Context(), decodeLease/2)
			defer cancel()
			cmd := <-large(c, 1, WithContext(ctx))
			if err := cmd.Rerror().Err(); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v; want %v", err, context.DeadlineExceeded)
			}
			pass(time.Minute)
			wantDecodings(t, most)
		})
	})
}
