package interop

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/andeya/erpc/v7"
	theirgzip "github.com/andeya/erpc/v7/xfer/gzip"
	theirmd5 "github.com/andeya/erpc/v7/xfer/md5"

	_ "github.com/teleport-go/teleport/codecs/jsoncodec"
	_ "github.com/teleport-go/teleport/codecs/plaincodec"
	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/protos/rawproto"
	_ "github.com/teleport-go/teleport/xfers/gzip"
	_ "github.com/teleport-go/teleport/xfers/md5"
)

// patience bounds every wait for what must come; on an idle machine nothing takes a
// thousandth of it.
const patience = time.Minute

// Ids that both ages know. Each library has registries of its own, so the same
// ids may be taken in one process.
const (
	jsonID  = 'j'
	plainID = 's'
	gzipID  = 'g'
	md5ID   = 'm'
)

// What our connections speak.
var (
	detects = rawproto.NewRawProtoFunc()
	v5      = rawproto.NewRawProtoFunc(rawproto.V5)
	v7      = rawproto.NewRawProtoFunc(rawproto.V7)
)

func TestMain(m *testing.M) {
	tp.SetLoggerLevel("OFF")
	erpc.SetLoggerLevel("OFF")
	theirgzip.Reg(gzipID, "gzip", 5)
	theirmd5.Reg(md5ID, "md5")
	os.Exit(m.Run())
}

// exchange is a CALL or a PUSH in the words of both libraries.
type exchange struct {
	method string
	arg    any
	result any // a pointer, or nil
	codec  byte
	accept byte // X-Accept-Body-Codec; 0: none
	pipe   []byte
	meta   []pair
}

type pair struct{ key, value string }

// fault is an error in the words of both libraries.
type fault struct {
	code           int32
	message, cause string
}

// answer is what a caller gets.
type answer struct {
	fault
	codec byte
	meta  []pair
}

// note is a push that has arrived.
type note struct {
	text string
	meta []pair
}

// end is one end of a session, of either library.
type end interface {
	call(t testing.TB, x exchange) answer
	push(x exchange) fault
	close()
	over() <-chan struct{}
	notes() <-chan note
}

// receive waits for a value, and fails the test if none comes.
func receive[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v, ok := <-c:
		if !ok {
			var zero T
			return zero
		}
		return v
	case <-time.After(patience):
		t.Fatalf("%s: nothing within %v", what, patience)
		panic("unreachable")
	}
}

// within runs f, and fails the test if it does not return.
func within(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	receive(t, what, done)
}

// wiring is a way to connect the two ages.
type wiring struct {
	name string
	dial func(t testing.TB, o *ours, th *theirs)
}

var wirings = []wiring{
	{"theirs dials, ours detects", func(t testing.TB, o *ours, th *theirs) {
		th.dial(t, o.listen(t, detects))
	}},
	{"theirs dials, ours begins with V7", func(t testing.TB, o *ours, th *theirs) {
		th.dial(t, o.listen(t, v7))
	}},
	{"ours dials with V7", func(t testing.TB, o *ours, th *theirs) {
		o.dial(t, th.listen(t))
	}},
}

// connect returns both ends of a fresh session.
func (w wiring) connect(t testing.TB) (*ours, *theirs) {
	o, th := newOurs(t, tp.PeerConfig{}), newTheirs(t, erpc.PeerConfig{})
	w.join(t, o, th)
	return o, th
}

// join connects two peers; the one that dials calls the other one once.
func (w wiring) join(t testing.TB, o *ours, th *theirs) {
	t.Helper()
	w.dial(t, o, th)
	switch {
	case o.sess != nil:
		if a := o.call(t, exchange{method: "/hello/there"}); a.code != 0 {
			t.Fatalf("first call: %+v", a)
		}
		th.sess = receive(t, "their session", th.hello)
	default: // a detecting listener has to hear something before it can call
		if a := th.call(t, exchange{method: "/hello/there"}); a.code != 0 {
			t.Fatalf("first call: %+v", a)
		}
		o.sess = receive(t, "our session", o.hello)
	}
}

// eachWiring runs f over every way to connect.
func eachWiring(t *testing.T, f func(t *testing.T, o *ours, th *theirs)) {
	for _, w := range wirings {
		t.Run(w.name, func(t *testing.T) {
			o, th := w.connect(t)
			f(t, o, th)
		})
	}
}

// eachWay runs f over every way to connect, and in both directions.
func eachWay(t *testing.T, f func(t *testing.T, from, to end)) {
	eachWiring(t, func(t *testing.T, o *ours, th *theirs) {
		t.Run("theirs to ours", func(t *testing.T) { f(t, th, o) })
		t.Run("ours to theirs", func(t *testing.T) { f(t, o, th) })
	})
}

func (f fault) String() string {
	return fmt.Sprintf("%d %q cause %q", f.code, f.message, f.cause)
}
