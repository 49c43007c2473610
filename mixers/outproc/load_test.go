package outproc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/protos/rawproto"
)

// loadRole loads the guest of a role, and closes it at the end of the test.
func loadRole(t testing.TB, role string, change ...func(*Guest)) *Handle {
	t.Helper()
	h, err := tryLoad(t, role, change...)
	require.NoError(t, err)
	return h
}

func tryLoad(t testing.TB, role string, change ...func(*Guest)) (*Handle, error) {
	t.Helper()
	g := Guest{Path: self(t), Env: []string{envRole + "=" + role, "GORACE=atexit_sleep_ms=0"}, Logger: tptest.Logger(t)}
	g.Timeout = 20 * time.Second // a busy machine is no fault
	for _, f := range change {
		f(&g)
	}
	h, err := Load(t.Context(), g)
	if err == nil {
		t.Cleanup(func() { require.NoError(t, h.Close()) })
	}
	return h, err
}

func self(t testing.TB) string {
	path, err := os.Executable()
	require.NoError(t, err)
	return path
}

// await reads events until one has the state.
func await(t *testing.T, h *Handle, state State) Event {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case e, ok := <-h.Events():
			require.True(t, ok, "the events have ended before %s", state)
			t.Logf("event %s: %v", e.State, e.Err)
			if e.State == state {
				return e
			}
		case <-timeout:
			require.FailNow(t, "no event "+string(state))
		}
	}
}

func filterOf(t testing.TB) xfer.XferFilter {
	f, err := xfer.Get(200)
	require.NoError(t, err)
	return f
}

func activePID(h *Handle) int {
	for _, p := range h.Health().Processes {
		if p.Active {
			return p.PID
		}
	}
	return noPID
}

// noPID is the id of no process. A kill of 0 would end this one, and its group.
const noPID = 1 << 30

// shortDir is t.TempDir with a path that has room for a socket.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "op")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

type note struct {
	Text  string `json:"text"`
	Count int    `json:"count"`
}

// peers returns a session to a peer that answers "/count".
func peers(t *testing.T) tp.Session {
	srv := tptest.NewPeer(t, tp.PeerConfig{LocalIP: "127.0.0.1", Protocol: rawproto.NewRawProtoFunc()})
	tp.HandleCall(srv, "/count", func(_ tp.CallCtx, n *note) (note, error) {
		if n.Text == "refuse in" {
			return note{"!refuse in!", 0}, nil
		}
		return note{n.Text + "!", n.Count + 1}, nil
	})
	cli := tptest.NewPeer(t, tp.PeerConfig{Protocol: rawproto.NewRawProtoFunc()})
	return tptest.Dial(t, cli, tptest.Listen(t, srv))
}

// A session uses a filter and a codec of a guest under their ids.
func TestSession(t *testing.T) {
	tptest.LeakCheck(t)
	h := loadRole(t, "parts")
	require.Equal(t, []Part{{"filter", 200, "reverse"}, {"codec", 200, "boxed"}}, h.Parts())
	sess := peers(t)
	got, err := tp.Invoke[note](t.Context(), sess, "/count", note{"two", 2}, tp.WithBodyCodec(200), tp.WithXferPipe(200))
	require.NoError(t, err)
	require.Equal(t, note{"two!", 3}, got)
}

// What is wrong with a guest is said in words: what, which, and what to do.
func TestLoadRefuses(t *testing.T) {
	file := func(t *testing.T, text string, mode os.FileMode) func(*Guest) {
		return func(g *Guest) {
			g.Path = filepath.Join(t.TempDir(), "file")
			require.NoError(t, os.WriteFile(g.Path, []byte(text), mode))
		}
	}
	soon := func(g *Guest) { g.StartTimeout = time.Second }
	for _, test := range []struct {
		name, role string
		change     func(*Guest)
		words      string
	}{
		{"no path", "", func(g *Guest) { g.Path = "" }, "set Path to the file of the guest, or Connect to the address of one that runs; both are empty"},
		{"no file", "", func(g *Guest) { g.Path = "/nowhere/guest" }, "guest /nowhere/guest: open /nowhere/guest: no such file"},
		{"a directory", "", func(g *Guest) { g.Path = "/" }, "/ is not a regular file"},
		{"not executable", "", file(t, "x", 0o600), "is not executable: chmod +x /"},
		{"no program", "", file(t, "x", 0o700), "start it: "},
		{"no interpreter", "", file(t, "#!/nowhere/python\n", 0o700), "start it: "},
		{"wrong hash", "parts", func(g *Guest) { g.SHA256 = strings.Repeat("ab", 32) }, "not " + strings.Repeat("ab", 32) + ": if the new file is the one to run, change SHA256"},
		{"no hash", "parts", func(g *Guest) { g.SHA256 = "abc" }, `SHA256 "abc" is not 64 hexadecimal digits`},
		{"wrong name", "parts", func(g *Guest) { g.Name = "md5" }, "its name is parts, not md5: change Guest.Name, or Guest.Path"},
		{"too many replicas", "parts", func(g *Guest) { g.Replicas = 9 }, "9 Replicas are more than 8"},
		{"a large item", "parts", func(g *Guest) { g.MaxItem = math.MaxInt32 }, "MaxItem 2147483647 is more than"},
		{"a config that is no JSON", "config", func(g *Guest) { g.Config = func() {} }, "encode Guest.Config: json: unsupported type"},
		{"a config that it refuses", "config", func(g *Guest) { g.Config = map[string]int{"level": 4} }, `its configuration is refused: level must be 3, not {"level":4}`},
		{"a config that it does not take", "parts", func(g *Guest) { g.Config = 1 }, "parts takes no configuration"},
		{"another program", "garbage", nil, `it is no guest of Teleport: it has printed "hello, world", where a guest prints "1|1|unix|…|tp"`},
		{"binary output", "binary", nil, `it is no guest of Teleport: it has printed "\x00\xff`},
		{"another version", "version", nil, "it has version 7 of the contract, this host has version 1: build both with the same version of mixers/outproc"},
		{"a guest of gRPC", "grpc", nil, `its lane speaks "grpc", not "tp": it is made for another program that uses go-plugin`},
		{"no socket", "nowhere", nil, "open its lane: "},
		{"hangs", "hangs", soon, "that it is ready: it is no guest of Teleport, or it hangs"},
		{"dies", "dies", nil, "it has ended before it was ready (exit status 3); its last lines:\n\tno such table: users"},
		{"panics", "panics", nil, "panic: at the start"},
		{"no parts", "nothing", nil, "Serve needs at least one part"},
		{"no part", "no part", nil, "part 0: int is no part: none of xfer.XferFilter, codec.Codec"},
		{"a codec with a schema", "typed", nil, "its part typed cannot be used from another process: codec typed needs to know the types of the values"},
		{"a filter that does not give back", "wrong", nil, "filter wrong: the self-test of unpack: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			tptest.LeakCheck(t)
			change := []func(*Guest){}
			if test.change != nil {
				change = append(change, test.change)
			}
			_, err := tryLoad(t, test.role, change...)
			require.ErrorContains(t, err, test.words)
			require.ErrorContains(t, err, "outproc: guest ")
			require.Empty(t, socketDirs(t))
		})
	}
}

// socketDirs returns the directories for sockets that exist.
func socketDirs(t *testing.T) []string {
	list, err := filepath.Glob(filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "*"))
	require.NoError(t, err)
	return list
}

// A Load ends with its context.
func TestLoadContext(t *testing.T) {
	tptest.LeakCheck(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := Load(ctx, Guest{Path: self(t), Env: []string{envRole + "=hangs"}, StartTimeout: time.Minute, Logger: tptest.Logger(t)})
	require.Error(t, err)
	require.Less(t, time.Since(start), 30*time.Second)
}

// Ids and names that are taken are an error that names both.
func TestClash(t *testing.T) {
	xfer.Replace(reverse{201, "in process"}) // not Register: the test may run again
	h := loadRole(t, "parts")
	_, err := tryLoad(t, "parts")
	require.ErrorContains(t, err, "its filter reverse (id 200): the place of reverse (id 200, of guest parts) is taken: remove the import or the guest")
	_, err = tryLoad(t, "other")
	require.ErrorContains(t, err, "its filter other (id 201): the place of in process (id 201, outproc.reverse of this process) is taken")

	f, err := xfer.Get(200)
	require.NoError(t, err)
	require.NoError(t, h.Close())
	require.NoError(t, h.Close(), "the second Close")
	_, err = f.OnPack([]byte("x"))
	require.ErrorIs(t, err, ErrGuestUnavailable)
	require.ErrorContains(t, err, "guest parts: it was closed")
	require.Equal(t, Stopped, h.Health().State)
	require.ErrorContains(t, h.Reload(t.Context()), "it was closed")

	again := loadRole(t, "parts") // takes the places of the closed one
	f, err = xfer.GetByName("reverse")
	require.NoError(t, err)
	out, err := f.OnPack([]byte("ab"))
	require.NoError(t, err)
	require.Equal(t, "ba", string(out))
	require.NoError(t, again.Close())
}

// An optional guest that cannot be loaded is no error, and lets nothing pass.
func TestOptional(t *testing.T) {
	tptest.LeakCheck(t)
	h, err := tryLoad(t, "dies", func(g *Guest) { g.Optional = true })
	require.NoError(t, err)
	require.Empty(t, h.Parts())
	require.Equal(t, Stopped, h.Health().State)
	require.ErrorContains(t, h.Health().Err, "no such table")
	_, err = tryLoad(t, "dies", func(g *Guest) { g.Optional, g.SHA256 = true, "abc" })
	require.Error(t, err, "a Guest that is wrong is no guest that is missing")
}

// The hash of the file that runs is the one that was asked for.
func TestHash(t *testing.T) {
	text, err := os.ReadFile(self(t))
	require.NoError(t, err)
	sum := sha256.Sum256(text)
	loadRole(t, "parts", func(g *Guest) { g.SHA256 = strings.ToUpper(hex.EncodeToString(sum[:])) })
}

// A guest gets the variables of the allow-list, and no others.
func TestEnvironment(t *testing.T) {
	t.Setenv("OUTPROC_SECRET", "s")
	t.Setenv("OUTPROC_GIVEN", "g")
	env := environment([]string{"OUTPROC_GIVEN", "OUTPROC_OWN=o", "OUTPROC_MISSING"})
	require.Contains(t, env, "OUTPROC_GIVEN=g")
	require.Contains(t, env, "OUTPROC_OWN=o")
	require.NotContains(t, strings.Join(env, "\n"), "OUTPROC_SECRET")
	require.NotContains(t, strings.Join(env, "\n"), "OUTPROC_MISSING")
}

func TestConfig(t *testing.T) {
	loadRole(t, "config", func(g *Guest) { g.Config = map[string]int{"level": 3} })
}

// A part fails closed, with an error that says why.
func TestFailures(t *testing.T) {
	h := loadRole(t, "parts", func(g *Guest) { g.MaxItem = 1 << 20 })
	f, err := xfer.Get(200)
	require.NoError(t, err)
	c, err := codec.Get(200)
	require.NoError(t, err)
	pack := func(text string) error {
		out, err := f.OnPack([]byte(text))
		require.Nil(t, out)
		return err
	}

	err = pack("!refuse!")
	require.ErrorIs(t, err, ErrRefused)
	require.NotErrorIs(t, err, ErrGuestUnavailable)
	require.ErrorContains(t, err, "guest parts: these bytes are not to be packed")
	require.ErrorContains(t, pack("!panic!"), "in a filter")
	require.ErrorIs(t, pack(strings.Repeat("x", 1<<20+1)), xfer.ErrTooLarge)

	err = c.Unmarshal([]byte("{}"), new(any))
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorContains(t, err, "no bracket")
	_, err = c.Marshal(func() {})
	require.ErrorContains(t, err, "codec boxed of guest parts: json codec: encode func()")
	data, err := c.Marshal("text")
	require.NoError(t, err)
	require.ErrorContains(t, c.Unmarshal(data, new(int)), "decode into *int")

	_, err = f.(xfer.Appender).AppendUnpack(nil, []byte("four"), 3)
	require.ErrorIs(t, err, xfer.ErrTooLarge)
	out, err := f.(xfer.Appender).AppendUnpack([]byte("head "), []byte("four"), 4)
	require.NoError(t, err)
	require.Equal(t, "head ruof", string(out))

	require.Zero(t, h.Restarts())

	// In a session: 104 on the way out, with the guest's error inside.
	_, err = tp.Invoke[note](t.Context(), peers(t), "/count", note{"!refuse!", 1}, tp.WithXferPipe(200))
	require.ErrorIs(t, err, tp.ErrWriteFailed)
	require.ErrorIs(t, err, ErrRefused)
	// On the way in a message that its guest refuses is not handled: here a reply, whose
	// call ends.
	_, err = tp.Invoke[note](t.Context(), peers(t), "/count", note{"refuse in", 1}, tp.WithXferPipe(200))
	require.ErrorIs(t, err, tp.ErrConnClosed)
	require.ErrorContains(t, err, "these bytes are not to be packed")
}

// An item that the guest does not answer fails at its deadline.
func TestHangs(t *testing.T) {
	h := loadRole(t, "parts", func(g *Guest) { g.Timeout = time.Second })
	start := time.Now()
	_, err := filterOf(t).OnPack([]byte("!hang!"))
	require.ErrorIs(t, err, ErrGuestUnavailable)
	require.ErrorContains(t, err, "guest parts: it has not answered within 1s")
	require.GreaterOrEqual(t, time.Since(start), time.Second)
	require.Zero(t, h.Restarts())
	_, err = tp.Invoke[note](t.Context(), peers(t), "/count", note{"!hang!", 1}, tp.WithXferPipe(200))
	require.ErrorIs(t, err, tp.ErrWriteFailed)
	require.ErrorIs(t, err, ErrGuestUnavailable)
}
