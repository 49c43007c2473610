package quickstart

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// onNetwork returns the two programs with another network, and with a TLS configuration if
// it needs one; nothing else is changed but the port and the times.
func onNetwork(t *testing.T, network, module string, tls bool, port string) (server *exec.Cmd, client func(port string) *exec.Cmd) {
	with := "mixers/standard\"\n\t_ \"github.com/teleport-go/teleport/mixers/" + module + "\"\n"
	srv := []string{"mixers/standard\"\n", with, "CountTime:   true,", "CountTime:   true,\n\t\tNetwork: \"" + network + "\",", "9090", port, "time.Second * 5", "time.Millisecond * 20"}
	cli := []string{"mixers/standard\"\n", with, "tp.PeerConfig{}", "tp.PeerConfig{Network: \"" + network + "\"}", "time.Second * 10", "time.Second * 2"}
	if tls {
		srv = append(srv, "\t// router\n", "\tsrv.SetTLSConfig(tp.GenerateTLSConfigForServer())\n")
		cli = append(cli, "\tdefer cli.Close()\n", "\tdefer cli.Close()\n\tcli.SetTLSConfig(tp.GenerateTLSConfigForClient())\n")
	}
	return rewritten(t, "server", srv...), func(port string) *exec.Cmd {
		return rewritten(t, "client", append([]string{":9090", ":" + port}, cli...)...)
	}
}

// The two programs talk over each network, and a server that was interrupted has left its
// port free.
func TestTalkOverNetworks(t *testing.T) {
	for _, network := range []struct {
		name, module string
		tls          bool
	}{
		{"quic", "quic", true},
		{"kcp", "kcp", false},
		{"resume+tcp", "resume", false},
	} {
		t.Run(network.name, func(t *testing.T) {
			port, client := "0", ""
			for range 2 {
				server, newClient := onNetwork(t, network.name, network.module, network.tls, port)
				stderr, err := server.StderrPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := server.Start(); err != nil {
					t.Fatal(err)
				}
				defer server.Process.Kill()
				var all strings.Builder
				log := bufio.NewReader(io.TeeReader(stderr, &all))
				port = waitForLine(t, log, `listen and serve \(network:`+regexp.QuoteMeta(network.name)+`, addr:.*:(\d+)\)`)[1]
				if client == "" {
					client = newClient(port).Path
				}
				out, err := exec.CommandContext(t.Context(), client).CombinedOutput()
				if err != nil {
					t.Errorf("client: %v", err)
				}
				for _, want := range []string{"result: 15", "this is a broadcast, server time: "} {
					if !bytes.Contains(out, []byte(want)) {
						t.Errorf("the client does not say %q:\n%s", want, out)
					}
				}
				if runtime.GOOS == "windows" {
					return // no signal to send
				}
				server.Process.Signal(os.Interrupt)
				rest, _ := io.ReadAll(log)
				if err := server.Wait(); err != nil {
					t.Errorf("server after an interrupt: %v, want an exit code 0\n%s", err, rest)
				}
				if m := regexp.MustCompile(`(?m)^.*\[(ERRO|CRIT)\].*$`).FindString(all.String()); m != "" {
					t.Errorf("the server has written %s", m)
				}
			}
		})
	}
}
