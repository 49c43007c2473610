package interop

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	erpc "github.com/andeya/erpc/v7"

	tp "github.com/teleport-go/teleport/core"
)

// The networks quic and kcp do not build together with eRPC v7, which needs an older
// quic-go; so our side is a program of its own, built in the workspace of the repository.
const networkProgram = `package main

import (
	"bufio"
	"fmt"
	"io"
	"os"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/kcp"
	"github.com/teleport-go/teleport/mixers/quic"
	_ "github.com/teleport-go/teleport/mixers/standard"
	"github.com/teleport-go/teleport/protos/rawproto"
)

func main() {
	cfg := tp.PeerConfig{LocalIP: "127.0.0.1", Protocol: rawproto.NewRawProtoFunc(rawproto.V7)}
	n := quic.New(quic.Options{V7: true})
	if os.Args[1] == "kcp" {
		n = kcp.New(kcp.V7())
	}
	cfg.Net = &n
	p := tp.NewPeer(cfg)
	tp.HandleCall(p, "/math/add", func(_ tp.CallCtx, a *[]int) (sum int, _ error) {
		for _, n := range *a {
			sum += n
		}
		return sum, nil
	})
	if len(os.Args) == 2 { // serve until the test ends
		if os.Args[1] == "quic" {
			p.SetTLSConfig(tp.GenerateTLSConfigForServer())
		}
		if err := p.Listen(); err != nil {
			panic(err)
		}
		fmt.Println(p.Addrs()[0])
		io.Copy(io.Discard, bufio.NewReader(os.Stdin))
		return
	}
	if os.Args[1] == "quic" {
		p.SetTLSConfig(tp.GenerateTLSConfigForClient())
	}
	sess, rerr := p.Dial(os.Args[2])
	for i := 0; rerr == nil && i < 3; i++ {
		var sum int
		if rerr = sess.Call("/math/add", []int{1, 2, i}, &sum).Rerror(); rerr == nil {
			fmt.Println(sum)
		}
	}
	if rerr != nil {
		fmt.Println(rerr)
	}
	p.Close()
}
`

// buildProgram builds networkProgram.
func buildProgram(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	file, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	if err := os.WriteFile(file, []byte(networkProgram), 0o600); err != nil {
		t.Fatal(err)
	}
	_, here, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(here), "..", "..")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", program, file)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOWORK="+filepath.Join(root, "go.work"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

// sums is what the calls of both sides get.
const sums = "3\n4\n5\n"

// v7 calls and is called over QUIC and KCP.
func TestNetworks(t *testing.T) {
	program := buildProgram(t)
	for _, network := range []string{"quic", "kcp"} {
		t.Run(network+"/v7 calls", func(t *testing.T) {
			srv := exec.Command(program, network)
			stdin, err := srv.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := srv.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := srv.Start(); err != nil {
				t.Fatal(err)
			}
			defer srv.Wait()
			defer stdin.Close()
			addr, err := bufio.NewReader(stdout).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			cli := erpc.NewPeer(erpc.PeerConfig{Network: network})
			defer cli.Close()
			if network == "quic" {
				cli.SetTLSConfig(&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
			}
			sess, status := cli.Dial(strings.TrimSpace(addr))
			if !status.OK() {
				t.Fatal(status)
			}
			for i := range 3 {
				var sum int
				if status := sess.Call("/math/add", []int{1, 2, i}, &sum).Status(); !status.OK() || sum != 3+i {
					t.Errorf("sum %d, %v; want %d", sum, status, 3+i)
				}
			}
		})
		t.Run(network+"/v7 is called", func(t *testing.T) {
			addrs := make(chan net.Addr, 1)
			srv := erpc.NewPeer(erpc.PeerConfig{Network: network, LocalIP: "127.0.0.1"}, theirListen{addrs})
			defer srv.Close()
			srv.SubRoute("/math").RouteCallFunc((*TheirMath).Add)
			if network == "quic" {
				cfg := tp.GenerateTLSConfigForServer()
				cfg.NextProtos = []string{"h2"}
				srv.SetTLSConfig(cfg)
			}
			go srv.ListenAndServe()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, program, network, (<-addrs).String())
			cmd.Stderr = io.Discard
			out, err := cmd.Output()
			if err != nil || string(out) != sums {
				t.Errorf("%v, our client says %q; want %q", err, out, sums)
			}
		})
	}
}
