package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/resume"
)

func Example() {
	if err := demo(context.Background()); err != nil {
		panic(err)
	}
	// Output:
	//  25% of 16777216 bytes
	//  50% of 16777216 bytes
	//  75% of 16777216 bytes
	// 100% of 16777216 bytes
	//  25% of 16777216 bytes
	//  50% of 16777216 bytes
	//  75% of 16777216 bytes
	// 100% of 16777216 bytes
	// tcp: 4 connections were cut; attempts to send: 4, to receive: 2
	// all three files have the same sha256
	//  25% of 16777216 bytes
	//  50% of 16777216 bytes
	//  75% of 16777216 bytes
	// 100% of 16777216 bytes
	//  25% of 16777216 bytes
	//  50% of 16777216 bytes
	//  75% of 16777216 bytes
	// 100% of 16777216 bytes
	// resume+tcp: 4 connections were cut; attempts to send: 1, to receive: 1
	// all three files have the same sha256
}

func init() { tp.SetLoggerLevel("OFF") }

// writeFile writes a file with as many bytes of chance.
func writeFile(t *testing.T, path string, size int) {
	content := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(content)
	require.NoError(t, os.WriteFile(path, content, 0o600))
}

// world is a server with a directory, and a session to it.
type world struct {
	t    *testing.T
	ctx  context.Context
	dir  string // of the server
	mine string // of the client
	sess tp.Session

	stats resume.Stats // of the client, with resume+tcp
}

// newWorld returns a world whose first connections are cut after so many bytes.
func newWorld(t *testing.T, network string, after ...int64) *world {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	w := &world{t: t, ctx: ctx, dir: t.TempDir(), mine: t.TempDir()}
	srv, err := newServer(network, "127.0.0.1:0", w.dir, 1<<20)
	require.NoError(t, err)
	t.Cleanup(func() { srv.Close() })
	w.dial(network, srv.Addrs()[0].String(), after...)
	return w
}

// dial dials a server through a relay.
func (w *world) dial(network, addr string, after ...int64) *relay {
	r, err := newRelay(addr, after...)
	require.NoError(w.t, err)
	w.t.Cleanup(r.close)
	cfg := tp.PeerConfig{Network: network, RedialTimes: 100, RedialInterval: 50 * time.Millisecond}
	if below, ok := strings.CutPrefix(network, "resume+"); ok {
		n, err := tp.LookupNetwork(below)
		require.NoError(w.t, err)
		n = resume.Over(n, resume.Options{Stats: &w.stats})
		cfg.Network, cfg.Net = "", &n
	}
	cli, err := tp.Open(cfg)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { cli.Close() })
	sess, rerr := cli.Dial(r.addr())
	require.Nil(w.t, rerr)
	w.sess = sess
	return r
}

// sizes are those of files that are moved; that of 600,000 bytes over connections that are cut.
var sizes = map[string]struct {
	size  int
	after []int64
}{
	"empty":               {0, nil},
	"a byte":              {1, nil},
	"a chunk":             {32 << 10, nil},
	"cut in the middle":   {600_000, []int64{300_000}},
	"cut again and again": {600_000, []int64{100, 1000, 100_000, 60_000, 200_000}},
}

func TestTransfers(t *testing.T) {
	for _, network := range []string{"tcp", "resume+tcp"} {
		for name, test := range sizes {
			t.Run(network+" "+name, func(t *testing.T) {
				w := newWorld(t, network, test.after...)
				source := filepath.Join(w.mine, "source")
				writeFile(t, source, test.size)
				last := int64(0)
				show := func(done, size int64) {
					require.EqualValues(t, test.size, size)
					last = done
				}
				_, err := upload(w.ctx, w.sess, source, show)
				require.NoError(t, err)
				require.EqualValues(t, test.size, last)
				attempts, err := upload(w.ctx, w.sess, source, nil) // it is there
				require.NoError(t, err)
				require.Equal(t, 1, attempts)

				back := t.TempDir()
				_, err = download(w.ctx, w.sess, "source", back, show)
				require.NoError(t, err)
				require.NoError(t, same(source, filepath.Join(w.dir, "source"), filepath.Join(back, "source")))
				for _, dir := range []string{w.dir, back} {
					entries, err := os.ReadDir(dir)
					require.NoError(t, err)
					require.Len(t, entries, 1, "no part is left")
				}
			})
		}
	}
}

// put sends bytes as a part, whatever they are.
func (w *world) put(p part, content string) error {
	st, err := tp.OpenStream[[]byte, []byte](w.ctx, w.sess, "/files/put", tp.WithBody(p))
	require.NoError(w.t, err)
	defer st.Close()
	st.Send([]byte(content)) // its error is that of the handler
	st.CloseSend()
	return st.Wait()
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, "tcp")
	const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2, appendix B.1
	good := file{"abc", 3, abc}
	for _, test := range []struct {
		name, content string
		part          part
		code          int32
		text          string
	}{
		{"a name that leads out", "abc", part{file{"../abc", 3, abc}, 0}, 400, `"../abc" is not the name of a file`},
		{"a name of a directory", "abc", part{file{".", 3, abc}, 0}, 400, `"." is not the name of a file`},
		{"no name", "abc", part{file{"", 3, abc}, 0}, 400, `"" is not the name of a file`},
		{"a short sum", "abc", part{file{"abc", 3, "ba78"}, 0}, 400, `is "ba78", not 64 digits`},
		{"a negative size", "", part{file{"abc", -1, abc}, 0}, 400, `the size of "abc" is -1`},
		{"a negative offset", "abc", part{good, -1}, 400, "the offset is -1"},
		{"an offset behind the end", "", part{good, 4}, 400, "the offset is 4"},
		{"an offset behind what is there", "c", part{good, 2}, 400, `the offset is 2, but only 0 bytes of "abc" are here`},
		{"too large", "", part{file{"abc", 1<<20 + 1, abc}, 0}, 400, "more than the limit of 1048576"},
		{"too little", "ab", part{good, 0}, 400, `"abc" ends after 2 bytes, and not after 3`},
		{"too much", "abcd", part{good, 0}, 400, `"abc" does not end after 3 bytes`},
		{"other bytes", "abd", part{good, 0}, codeDamaged, `"abc" has 3 bytes with the sha256 a52d159f`},
		{"after that, what is right", "abc", part{good, 0}, 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := w.put(test.part, test.content)
			require.Equal(t, test.code, tp.Code(err), "%v", err)
			if test.text != "" {
				require.ErrorContains(t, err, test.text)
			}
		})
	}
	content, err := os.ReadFile(filepath.Join(w.dir, "abc"))
	require.NoError(t, err)
	require.Equal(t, "abc", string(content))

	_, err = download(w.ctx, w.sess, "none", w.mine, nil)
	require.Equal(t, tp.CodeNotFound, tp.Code(err))
	require.NoError(t, os.WriteFile(filepath.Join(w.dir, "abc"), []byte("new"), 0o600))
	st, err := tp.OpenStream[[]byte, []byte](w.ctx, w.sess, "/files/get", tp.WithBody(part{good, 1}))
	require.NoError(t, err)
	require.Equal(t, codeChanged, tp.Code(st.Wait()))
}

// A server that sends more than the file has, or other bytes, fills no disk, and its file gets
// no name.
func TestBadServer(t *testing.T) {
	const size = 100_000
	for _, sent := range []int{size - 1, size + 1, 40 * size} {
		t.Run(fmt.Sprint(sent), func(t *testing.T) {
			w := newWorld(t, "tcp")
			writeFile(t, filepath.Join(w.dir, "film"), 40*size)
			content, err := os.ReadFile(filepath.Join(w.dir, "film"))
			require.NoError(t, err)
			what, err := describe("film", bytes.NewReader(content[:size]))
			require.NoError(t, err)
			srv, err := tp.Open(tp.PeerConfig{LocalIP: "127.0.0.1"})
			require.NoError(t, err)
			defer srv.Close()
			tp.HandleCall(srv, "/files/info", func(tp.CallCtx, *string) (file, error) { return what, nil })
			tp.HandleStream(srv, "/files/get", func(_ tp.StreamCtx, st *tp.Stream[[]byte, []byte]) error {
				_, err := tp.StreamWriter(st).Write(content[:sent])
				return err
			})
			require.NoError(t, srv.Listen())
			w.dial("tcp", srv.Addrs()[0].String())
			most := int64(0)
			_, err = download(w.ctx, w.sess, "film", w.mine, func(done, _ int64) { most = max(most, done) })
			require.Equal(t, codeDamaged, tp.Code(err), "%v", err)
			require.LessOrEqual(t, most, int64(size+1))
			entries, err := os.ReadDir(w.mine)
			require.NoError(t, err)
			require.Empty(t, entries)
		})
	}
}

func TestAttemptsEnd(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	broken := tp.NewRerror(tp.CodeConnClosed, "", "broken").Err()
	n := int64(0)
	attempts, err := untilDone(ctx, func() (int64, error) { n++; return min(n, 3), broken })
	require.ErrorIs(t, err, tp.ErrConnClosed)
	require.ErrorContains(t, err, "50 attempts in a row came no further than 3 bytes")
	require.Equal(t, 3+mostInRow, attempts)

	other := errors.New("no space left")
	attempts, err = untilDone(ctx, func() (int64, error) { return 0, other })
	require.Equal(t, other, err)
	require.Equal(t, 1, attempts)
}
