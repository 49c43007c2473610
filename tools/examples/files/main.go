// Command files moves files over streams: up and down, with their progress, on from where
// they were after a break of the connection. See README.md.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"time"

	tp "github.com/teleport-go/teleport/core"
	_ "github.com/teleport-go/teleport/mixers/resume"
	_ "github.com/teleport-go/teleport/mixers/standard"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:9090", "address to listen on, or of the server")
	network := flag.String("network", "tcp", "tcp; with resume+tcp on both sides a session outlives its connections")
	dir := flag.String("dir", ".", "directory of the server's files, and for those that are received")
	limit := flag.Int64("limit", 10<<30, "the largest file that the server takes, in bytes")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: %s [flags] [serve | put FILE | get NAME]\nWithout arguments it shows itself.\n", os.Args[0])
		flag.PrintDefaults()
	}
	flag.Parse()
	tp.SetLoggerLevel("OFF") // what happens to a transfer is in its error
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	var err error
	switch args := flag.Args(); {
	case len(args) == 0:
		err = demo(ctx)
	case args[0] == "serve" && len(args) == 1:
		stop() // Ctrl-C ends transfers first
		err = serve(*network, *addr, *dir, *limit)
	case args[0] == "put" && len(args) == 2:
		err = transfer(ctx, *network, *addr, func(sess tp.Session) error {
			attempts, err := upload(ctx, sess, args[1], showPercent(os.Stderr.WriteString))
			return report(attempts, err)
		})
	case args[0] == "get" && len(args) == 2:
		err = transfer(ctx, *network, *addr, func(sess tp.Session) error {
			attempts, err := download(ctx, sess, args[1], *dir, showPercent(os.Stderr.WriteString))
			return report(attempts, err)
		})
	default:
		flag.Usage()
		os.Exit(2)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// newServer returns a server that listens.
func newServer(network, addr, dir string, limit int64) (tp.Peer, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	srv, err := tp.Open(tp.PeerConfig{Network: network, LocalIP: host, ListenPort: uint16(port)})
	if err != nil {
		return nil, err
	}
	(&store{root, limit}).register(srv)
	return srv, srv.Listen()
}

func serve(network, addr, dir string, limit int64) error {
	srv, err := newServer(network, addr, dir, limit)
	if err != nil {
		return err
	}
	tp.SetLoggerLevel("WARNING")
	fmt.Println(srv.Addrs()[0])
	tp.GraceSignal() // SIGUSR2 puts a new process of this program in its place
	return nil
}

// transfer dials, and calls move. The session redials as those of v5 and v7 do.
func transfer(ctx context.Context, network, addr string, move func(tp.Session) error) error {
	cli, err := tp.Open(tp.PeerConfig{Network: network, RedialTimes: 100, RedialInterval: 50 * time.Millisecond})
	if err != nil {
		return err
	}
	defer cli.Close()
	sess, rerr := cli.DialContext(ctx, addr)
	if rerr != nil {
		return rerr.Err()
	}
	return move(sess)
}

// showPercent returns a progress that writes a line for each quarter of the file.
func showPercent(write func(string) (int, error)) progress {
	shown := int64(0)
	return func(done, size int64) {
		for ; size > 0 && shown < 4 && done*4 >= size*(shown+1); shown++ {
			write(fmt.Sprintf("%3d%% of %d bytes\n", 25*(shown+1), size))
		}
	}
}

func report(attempts int, err error) error {
	if err == nil {
		fmt.Println("done; attempts:", attempts)
	}
	return err
}

// demo moves a file up and down, over connections that are cut.
func demo(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "files")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"server", "back"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	const size = 16 << 20
	content := make([]byte, size)
	rand.Read(content)
	source := filepath.Join(dir, "film")
	if err := os.WriteFile(source, content, 0o600); err != nil {
		return err
	}

	for _, network := range []string{"tcp", "resume+tcp"} {
		srv, err := newServer(network, "127.0.0.1:0", filepath.Join(dir, "server"), size)
		if err != nil {
			return err
		}
		defer srv.Close()
		r, err := newRelay(srv.Addrs()[0].String(), 3<<20, 5<<20, 2<<20, 9<<20)
		if err != nil {
			return err
		}
		defer r.close()
		err = transfer(ctx, network, r.addr(), func(sess tp.Session) error {
			up, err := upload(ctx, sess, source, showPercent(os.Stdout.WriteString))
			if err != nil {
				return err
			}
			down, err := download(ctx, sess, "film", filepath.Join(dir, "back"), showPercent(os.Stdout.WriteString))
			if err != nil {
				return err
			}
			fmt.Printf("%s: %d connections were cut; attempts to send: %d, to receive: %d\n", network, r.count(), up, down)
			return nil
		})
		if err != nil {
			return err
		}
		if err := same(source, filepath.Join(dir, "server", "film"), filepath.Join(dir, "back", "film")); err != nil {
			return err
		}
		fmt.Println("all three files have the same sha256")
		os.Remove(filepath.Join(dir, "server", "film"))
		os.Remove(filepath.Join(dir, "back", "film"))
	}
	return nil
}

// same returns an error unless all files have the same content.
func same(paths ...string) error {
	first := file{}
	for i, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		got, err := describe("", f)
		f.Close()
		if err != nil {
			return err
		}
		if i == 0 {
			first = got
		}
		if got != first {
			return errors.New(path + " is not what was sent")
		}
	}
	return nil
}
