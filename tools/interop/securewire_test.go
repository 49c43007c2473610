package interop

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/andeya/erpc/v7"
	"github.com/andeya/erpc/v7/codec"
	theirsecure "github.com/andeya/erpc/v7/plugin/secure"

	tp "github.com/teleport-go/teleport/core"
)

// secureBody is a sealed body in JSON.
func secureBody(ciphertext string) string {
	return fmt.Sprintf(`{"cipherversion":"%s","ciphertext":"%s"}`, keySum, ciphertext)
}

const (
	cipherOf123 = "a2b37762f05bf0fc18a57076ca4d4a0c" // [1,2,3]
	cipherOf6   = "2b9dcc79bd50a78d9f6a0c9001cfa9a8" // 6
	cipherOfHi  = "b7355b8249e8acaf46a93d70216f7771" // "hi"
)

// v7Plain is a frame of v7 without an error.
func v7Plain(seq string, mtype byte, method, meta string, codec byte, body string) []byte {
	b := v5Plain(seq, mtype, method, "", codec, "")
	b = append(b[:len(b)-3], "\x00\x06code=0"...)
	b = append(b, byte(len(meta)>>8), byte(len(meta)))
	b = append(append(append(b, meta...), codec), body...)
	b[3] = byte(len(b)) // they are short
	return b
}

// The frames of either age, byte for byte: what is sent to our server and to
// eRPC's, and what both answer.
func TestSecureGolden(t *testing.T) {
	ages := map[string]func(seq string, mtype byte, method, meta string, codec byte, body string) []byte{"v5": v5Plain, "v7": v7Plain}
	if got, want := v5Plain("1", 1, "/math/add", "X-Secure=true", jsonID, secureBody(cipherOf123)), append(unhex(t, "0000008600013101092f6d6174682f616464000d582d5365637572653d747275656a"), secureBody(cipherOf123)...); !bytes.Equal(got, want) {
		t.Fatalf("the script says %x, v5 sent %x", got, want)
	}
	for _, test := range []struct {
		name, age string
		server    func(t *testing.T) (addr string)
	}{
		{"v5, ours", "v5", func(t *testing.T) string {
			return newOurs(t, tp.PeerConfig{}, ourSecure(t, cipherKey)).listen(t, detects)
		}},
		{"v7, ours", "v7", func(t *testing.T) string {
			return newOurs(t, tp.PeerConfig{}, ourSecure(t, cipherKey)).listen(t, detects)
		}},
		{"v7, theirs", "v7", func(t *testing.T) string {
			return newTheirs(t, erpc.PeerConfig{}, theirsecure.NewPlugin(theirCode, cipherKey)).listen(t)
		}},
	} {
		t.Run("called: "+test.name, func(t *testing.T) {
			frame, c := ages[test.age], dialV5(t, test.server(t))
			c.send(frame("1", 1, "/math/add", "X-Secure=true", jsonID, secureBody(cipherOf123)))
			c.want(frame("1", 2, "", "X-Secure=true", jsonID, secureBody(cipherOf6)))
			c.send(frame("2", 1, "/math/add", "X-Accept-Secure=true", jsonID, "[1,2,3]"))
			c.want(frame("2", 2, "", "X-Secure=true", jsonID, secureBody(cipherOf6)))
			c.send(frame("3", 1, "/math/add", "X-Secure=true&X-Accept-Secure=false", jsonID, secureBody(cipherOf123)))
			c.want(frame("3", 2, "", "", jsonID, "6"))
			c.send(frame("4", 1, "/math/add", "X-Accept-Secure=true", jsonID, "[1,2,3]"))
			c.want(frame("4", 2, "", "X-Secure=true", jsonID, secureBody(cipherOf6)))
		})
	}
	type caller struct {
		name, age string
		dial      func(t *testing.T, addr string) end
	}
	ours := func(age string, pf tp.ProtoFunc) caller {
		return caller{age + ", ours", age, func(t *testing.T, addr string) end {
			o := newOurs(t, tp.PeerConfig{}, ourSecure(t, cipherKey))
			o.dial(t, addr, pf)
			return o
		}}
	}
	for _, test := range []caller{
		ours("v5", v5), ours("v7", v7),
		{"v7, theirs", "v7", func(t *testing.T, addr string) end {
			th := newTheirs(t, erpc.PeerConfig{}, theirsecure.NewPlugin(theirCode, cipherKey))
			th.dial(t, addr)
			return th
		}},
	} {
		t.Run("calls: "+test.name, func(t *testing.T) {
			lis, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer lis.Close()
			frame, from := ages[test.age], test.dial(t, lis.Addr().String())
			conn, err := lis.Accept()
			if err != nil {
				t.Fatal(err)
			}
			c := newV5Conn(t, conn)
			defer c.Close()
			done := make(chan error, 1)
			go func() {
				var sum int
				a := from.call(t, exchange{method: "/math/add", arg: []int{1, 2, 3}, result: &sum, codec: jsonID, meta: []pair{sealed}})
				if a.code != 0 || sum != 6 {
					done <- fmt.Errorf("got %d, %v", sum, a.fault)
					return
				}
				done <- nil
			}()
			c.want(frame("1", 1, "/math/add", "X-Secure=true", jsonID, secureBody(cipherOf123)))
			c.send(frame("1", 2, "", "X-Secure=true", jsonID, secureBody(cipherOf6)))
			if err := receive(t, "call", done); err != nil {
				t.Error(err)
			}
			if f := from.push(exchange{method: "/note/say", arg: "hi", codec: jsonID, meta: []pair{sealed}}); f.code != 0 {
				t.Error(f)
			}
			c.want(frame("2", 3, "/note/say", "X-Secure=true", jsonID, secureBody(cipherOfHi)))
		})
	}
}

// What eRPC makes of a sealed body in XML is what securelegacy's own tests read.
func TestSecureXML(t *testing.T) {
	got, err := codec.Marshal('x', &theirsecure.Encrypt{Cipherversion: keySum, Ciphertext: cipherOf123})
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../../plugins/securelegacy/testdata/golden/envelope.xml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, bytes.TrimSpace(want)) {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What would be a panic in eRPC is an error of one message here.
func TestSecureDamaged(t *testing.T) {
	c := dialV5(t, newOurs(t, tp.PeerConfig{}, ourSecure(t, cipherKey)).listen(t, detects))
	for i, body := range []string{
		"", "{}", "[]", `"text"`, secureBody(""), secureBody("a2"), secureBody("a2b"), secureBody("zz"),
		secureBody(cipherOf123[:30]), secureBody(strings.Repeat("00", 16)), secureBody(cipherOf123 + cipherOf6[:2]),
		fmt.Sprintf(`{"cipherversion":%q,"ciphertext":%q}`, strings.Repeat("k", 60_000), cipherOf123),
	} {
		c.send(v5Plain("1", 1, "/math/add", "X-Secure=true", jsonID, body))
		if got := c.frame(); !bytes.Contains(got, []byte("X-Reply-Error=%7B%22code%22%3A4111")) || len(got) > 1000 {
			t.Errorf("%d: got %.300q", i, got)
		}
	}
	c.send(v5Plain("2", 1, "/math/add", "X-Secure=true", jsonID, secureBody(cipherOf123)))
	c.want(v5Plain("2", 2, "", "X-Secure=true", jsonID, secureBody(cipherOf6)))
}
