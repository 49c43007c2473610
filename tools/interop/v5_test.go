package interop

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// Teleport v5 cannot be a dependency. A script of the bytes that its programs
// were seen to send and to receive stands in for it.
const (
	v5Call      = "0000002c00013101092f6d6174682f61646400106b3d76253230312532462543332541396a5b312c322c335d"
	v5Reply     = "000000180001310200000b77686f3d737276253230316a36"
	v5MD5       = "0000002d016d013201092f6d6174682f61646400006a5b312c322c335db19b93a30f1ac73416336a9a93a873b0"
	v5Gzip      = "0000002d01671f8b08000000000000ff623464e4d4cf4d2cc9d04f4c496160c88a36d431d2318e05000000ffff"
	v5GzipMD5   = "0000003f02676d1f8b08000000000000ff623466e4d4cf4d2cc9d04f4c496160c88a36d431d2318edd5cb9c93ec3593bea6fc3ec3d1bb6497e04000000ffff"
	v5Push      = "0000001900013603092f6e6f74652f73617900006a22686922"
	v5Beat      = "0000001b000131010a2f686561727462656174000568625f3d336a"
	v5BeatReply = "00000010000131020000006a6e756c6c"
	v5Auth      = "0000000f0001310400000073746f6b"
	v5AuthReply = "00000010000131050000007370617373"
)

// v5NotFound is the 404 of a call with sequence number 3.
var v5NotFound = "0000005400013302000048" + hex.EncodeToString([]byte("X-Reply-Error=%7B%22code%22%3A404%2C%22message%22%3A%22Not%20Found%22%7D")) + "00"

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// v5Payload is the part of a v5 frame that filters work on.
func v5Payload(seq string, mtype byte, method, meta string, codec byte, body string) []byte {
	b := append([]byte{byte(len(seq))}, seq...)
	b = append(b, mtype, byte(len(method)))
	b = append(b, method...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(meta)))
	b = append(b, meta...)
	b = append(b, codec)
	return append(b, body...)
}

func v5Frame(pipe string, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(5+len(pipe)+len(payload)))
	b = append(b, byte(len(pipe)))
	b = append(b, pipe...)
	return append(b, payload...)
}

func v5Plain(seq string, mtype byte, method, meta string, codec byte, body string) []byte {
	return v5Frame("", v5Payload(seq, mtype, method, meta, codec, body))
}

// v5Error is the metadata of an error.
func v5Error(json string) string {
	var b strings.Builder
	for _, c := range []byte(json) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("*-._", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return "X-Reply-Error=" + b.String()
}

func withMD5(b []byte) []byte {
	sum := md5.Sum(b)
	return slices.Concat(b, sum[:])
}

// v5Zip is gzip as v5 writes it: without an end.
func v5Zip(t testing.TB, b []byte) []byte {
	out := bytes.NewBufferString("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
	w, err := flate.NewWriter(out, 5)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(b)
	w.Flush()
	return out.Bytes()
}

func unzip(t testing.TB, b []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// v5Conn is the scripted peer's end of a connection.
type v5Conn struct {
	net.Conn
	t testing.TB
}

func newV5Conn(t testing.TB, c net.Conn) v5Conn {
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return v5Conn{c, t}
}

func dialV5(t testing.TB, addr string) v5Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return newV5Conn(t, c)
}

func (c v5Conn) send(b []byte) {
	c.t.Helper()
	if _, err := c.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// frame reads a frame, size and all.
func (c v5Conn) frame() []byte {
	c.t.Helper()
	head := make([]byte, 4)
	if _, err := io.ReadFull(c, head); err != nil {
		c.t.Fatal(err)
	}
	b, err := io.ReadAll(io.LimitReader(c, int64(binary.BigEndian.Uint32(head))-4))
	if err != nil {
		c.t.Fatal(err)
	}
	return append(head, b...)
}

// unpiped reads a frame with the filters of pipe, and returns its payload.
func (c v5Conn) unpiped(pipe string) []byte {
	c.t.Helper()
	b := c.frame()
	head := append([]byte{byte(len(pipe))}, pipe...)
	if !bytes.HasPrefix(b[4:], head) {
		c.t.Fatalf("got frame %x, want one with the filters %q", b, pipe)
	}
	b = b[4+len(head):]
	for _, id := range []byte(pipe) {
		switch id {
		case gzipID:
			b = unzip(c.t, b)
		case md5ID:
			plain := b[:len(b)-md5.Size]
			if !bytes.Equal(withMD5(plain), b) {
				c.t.Fatalf("the sum of %x is wrong", b)
			}
			b = plain
		}
	}
	return b
}

func (c v5Conn) want(b []byte) {
	c.t.Helper()
	if got := c.frame(); !bytes.Equal(got, b) {
		c.t.Errorf("got frame\n%x\n%q, want\n%x\n%q", got, got, b, b)
	}
}

// end wants the end of the connection.
func (c v5Conn) end() {
	c.t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		c.t.Errorf("got %d bytes, %v, want the end", n, err)
	}
}

// A v5 client calls our server. Each case has a connection of its own, so that
// each of the frames is the first one and has to be told from the other dialects.
func TestV5Client(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 1<<16)
	cases := []struct {
		name       string
		send, want []byte
	}{
		{"call", unhex(t, v5Call), unhex(t, v5Reply)},
		{"not found", v5Plain("3", 1, "/no/such", "", jsonID, ""), unhex(t, v5NotFound)},
		{"heartbeat", unhex(t, v5Beat), unhex(t, v5BeatReply)},
		{"md5", unhex(t, v5MD5), v5Frame("m", withMD5(v5Payload("2", 2, "", "", jsonID, "6")))},
		{"md5, error", v5Frame("m", withMD5(v5Payload("z", 1, "/no/such", "", jsonID, ""))),
			v5Frame("m", withMD5(v5Payload("z", 2, "", v5Error(`{"code":404,"message":"Not Found"}`), 0, "")))},
		{"panic", v5Plain("10", 1, "/fail/panic", "", plainID, "boom"),
			v5Plain("10", 2, "", v5Error(`{"code":500,"message":"Internal Server Error","reason":"boom"}`), 0, "")},
		{"business error", v5Plain("1", 1, "/fail/business", "", jsonID, `{"Code":1234,"Message":"é & 1","Cause":"k=v"}`),
			v5Plain("1", 2, "", "kept=yes&"+v5Error(`{"code":1234,"message":"é & 1","reason":"k=v"}`), 0, "")},
		{"plain", v5Plain("1", 1, "/echo/text", "", plainID, "é"), v5Plain("1", 2, "", "", plainID, "é")},
		{"raw bytes", v5Plain("1", 1, "/echo/bytes", "", jsonID, "\x00\xff{"), v5Plain("1", 2, "", "", jsonID, "\x00\xff{")},
		{"accepts plain", v5Plain("1", 1, "/math/add", "X-Accept-Body-Codec=115", jsonID, "[40,2]"), v5Plain("1", 2, "", "", plainID, "42")},
		{"negative sequence number", v5Plain("-zik0zj", 1, "/math/add", "", jsonID, "[1]"), v5Plain("-zik0zj", 2, "", "", jsonID, "1")},
		{"megabyte", v5Plain("1", 1, "/echo/text", "", plainID, big), v5Plain("1", 2, "", "", plainID, big)},
	}
	listeners := []struct {
		name string
		pf   tp.ProtoFunc
	}{{"detects", detects}, {"begins with V5", v5}, {"begins with V7", v7}}
	for _, l := range listeners {
		t.Run(l.name, func(t *testing.T) {
			o := newOurs(t, tp.PeerConfig{})
			addr := o.listen(t, l.pf)
			for _, test := range cases {
				t.Run(test.name, func(t *testing.T) {
					c := dialV5(t, addr)
					for range 2 {
						c.send(test.send)
						c.want(test.want)
					}
				})
			}
			for name, script := range map[string]struct{ send, pipe string }{
				"gzip": {v5Gzip, "g"}, "gzip over md5": {v5GzipMD5, "gm"},
			} {
				t.Run(name, func(t *testing.T) {
					c := dialV5(t, addr)
					c.send(unhex(t, script.send))
					seq := "1"
					if script.pipe == "gm" {
						seq = "3"
					}
					if got, want := c.unpiped(script.pipe), v5Payload(seq, 2, "", "", jsonID, "6"); !bytes.Equal(got, want) {
						t.Errorf("got payload %x, want %x", got, want)
					}
				})
			}
			t.Run("push", func(t *testing.T) {
				c := dialV5(t, addr)
				c.send(unhex(t, v5Push))
				if n := receive(t, "push", o.heard); n.text != "hi" || len(n.meta) > 0 {
					t.Errorf("got %q", n)
				}
				c.send(unhex(t, v5Call)) // nothing was sent for the push
				c.want(unhex(t, v5Reply))
			})
			t.Run("is called and pushed to", func(t *testing.T) {
				c := dialV5(t, addr)
				c.send(v5Plain("1", 1, "/hello/there", "", jsonID, ""))
				s := receive(t, "our session", o.hello)
				c.frame()
				if r := s.Push("/note/say", "hi"); r != nil {
					t.Fatal(r)
				}
				c.want(v5Plain("1", 3, "/note/say", "", jsonID, `"hi"`))
				sum := 0
				cmd := s.AsyncCall("/math/add", []int{1, 2, 3}, &sum, nil, tp.WithXferPipe(md5ID))
				c.want(unhex(t, v5MD5))
				c.send(v5Frame("m", withMD5(v5Payload("2", 2, "", "", jsonID, "6"))))
				receive(t, "reply", cmd.Done())
				if r := cmd.Rerror(); r != nil || sum != 6 {
					t.Errorf("got %v, %d", r, sum)
				}
				cmd = s.AsyncCall("/no/such", nil, nil, nil)
				c.frame()
				c.send(unhex(t, v5NotFound))
				receive(t, "reply", cmd.Done())
				if got, want := ourFault(cmd.Rerror()), (fault{404, "Not Found", ""}); got != want {
					t.Errorf("got %v, want %v", got, want)
				}
				cmd = s.AsyncCall("/no/such", nil, nil, nil)
				c.frame()
				c.Close()
				receive(t, "end of the call", cmd.Done())
				closed(t, "call that waits", ourFault(cmd.Rerror()))
			})
			t.Run("our side closes", func(t *testing.T) {
				c := dialV5(t, addr)
				c.send(v5Plain("1", 1, "/hello/there", "", jsonID, ""))
				s := receive(t, "our session", o.hello)
				c.frame()
				go s.Close()
				c.end()
			})
		})
		t.Run(l.name+", authentication", func(t *testing.T) {
			o := newOurs(t, tp.PeerConfig{}, ourCheckerOf("tok"))
			addr := o.listen(t, l.pf)
			c := dialV5(t, addr)
			c.send(unhex(t, v5Auth))
			c.want(unhex(t, v5AuthReply))
			c.send(unhex(t, v5Call))
			c.want(unhex(t, v5Reply))

			c = dialV5(t, addr)
			c.send(v5Plain("1", 4, "", "", plainID, "wrong"))
			c.want(v5Plain("1", 5, "", v5Error(`{"code":1403,"message":"not you","reason":"k=v 1/é&=%"}`), 0, ""))
			c.end()
		})
	}
	t.Run("pushed to before it has sent anything", func(t *testing.T) {
		o := newOurs(t, tp.PeerConfig{}, hook{postAccept: func(s tp.PreSession) *tp.Rerror {
			return s.RawPush("/note/say", "hi")
		}})
		c := dialV5(t, o.listen(t, v5))
		c.want(v5Plain("1", 3, "/note/say", "", jsonID, `"hi"`))
		c.send(unhex(t, v5Call))
		c.want(unhex(t, v5Reply))
	})
}

// Our client, told to speak V5, calls a v5 server.
func TestV5Server(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	o := newOurs(t, tp.PeerConfig{})
	s, r := o.peer.Dial(lis.Addr().String(), v5)
	if r != nil {
		t.Fatal(r)
	}
	conn, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := newV5Conn(t, conn)

	// The server may be the first to speak.
	c.send(unhex(t, v5Push))
	if n := receive(t, "push", o.heard); n.text != "hi" {
		t.Errorf("got %q", n)
	}
	c.send(unhex(t, v5Call))
	c.want(unhex(t, v5Reply))

	call := func(method string, arg, result any, set ...tp.MessageSetting) (finish func() tp.CallCmd) {
		cmd := s.AsyncCall(method, arg, result, nil, set...)
		return func() tp.CallCmd {
			t.Helper()
			receive(t, "reply", cmd.Done())
			return cmd
		}
	}
	sum := 0
	finish := call("/math/add", []int{1, 2, 3}, &sum, tp.WithSetMeta("k", "v 1/é"))
	c.want(unhex(t, v5Call))
	c.send(unhex(t, v5Reply))
	if cmd := finish(); cmd.Rerror() != nil || sum != 6 || string(cmd.InputMeta().Peek("who")) != "srv 1" {
		t.Errorf("call: got %v, %d, %v", cmd.Rerror(), sum, cmd.InputMeta())
	}

	sum = 0
	finish = call("/math/add", []int{1, 2, 3}, &sum, tp.WithXferPipe(md5ID))
	c.want(unhex(t, v5MD5))
	c.send(v5Frame("m", withMD5(v5Payload("2", 2, "", "", jsonID, "6"))))
	if cmd := finish(); cmd.Rerror() != nil || sum != 6 {
		t.Errorf("md5: got %v, %d", cmd.Rerror(), sum)
	}

	finish = call("/no/such", nil, nil)
	c.want(v5Plain("3", 1, "/no/such", "", jsonID, ""))
	c.send(unhex(t, v5NotFound))
	if got, want := ourFault(finish().Rerror()), (fault{404, "Not Found", ""}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}

	finish = call("/fail", "x", nil, tp.WithBodyCodec(plainID), tp.WithAcceptBodyCodec(jsonID))
	c.want(v5Plain("4", 1, "/fail", "X-Accept-Body-Codec=106", plainID, "x"))
	c.send(v5Plain("4", 2, "", "kept=yes&"+v5Error(`{"code":1403,"message":"not you","reason":"k=v 1/é&=%"}`), 0, ""))
	cmd := finish()
	if got := ourFault(cmd.Rerror()); got != refusal {
		t.Errorf("got %v, want %v", got, refusal)
	}
	if got := cmd.InputMeta().String(); got != "kept=yes" {
		t.Errorf("metadata of the reply: %q", got)
	}

	sum = 0
	finish = call("/math/add", []int{1, 2, 3}, &sum, tp.WithXferPipe(gzipID, md5ID))
	if got, want := c.unpiped("gm"), v5Payload("5", 1, "/math/add", "", jsonID, "[1,2,3]"); !bytes.Equal(got, want) {
		t.Errorf("got payload %x, want %x", got, want)
	}
	c.send(v5Frame("gm", v5Zip(t, withMD5(v5Payload("5", 2, "", "", jsonID, "6")))))
	if cmd := finish(); cmd.Rerror() != nil || sum != 6 {
		t.Errorf("gzip over md5: got %v, %d", cmd.Rerror(), sum)
	}

	if r := s.Push("/note/say", "hi"); r != nil {
		t.Error(r)
	}
	c.want(unhex(t, v5Push))

	finish = call("/math/add", []int{1}, &sum)
	c.frame()
	c.Close()
	closed(t, "call that waits", ourFault(finish().Rerror()))
	receive(t, "close notification", s.CloseNotify())
}
