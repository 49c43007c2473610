// Command chat is a chat that one opens in a browser: rooms, who is online, and a server
// that asks the page. See README.md.
package main

import (
	"embed"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"strconv"
	"time"

	_ "github.com/teleport-go/teleport/codecs/jsoncodec"
	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/websocket"
	"github.com/teleport-go/teleport/mixers/websocket/js"
)

//go:embed page
var pages embed.FS

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on; port 0 takes a free one")
	idle := flag.Duration("idle", 10*time.Minute, "how long somebody may be silent before the server asks")
	answer := flag.Duration("answer", time.Minute, "how long it waits for the answer")
	flag.Parse()

	tp.SetLoggerLevel("WARNING")
	srv, err := newServer(*addr, newChat(*idle, *answer))
	if err != nil {
		log.Fatal(err)
	}
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s/\n", srv.Addrs()[0])
	tp.GraceSignal() // Ctrl-C lets calls end first
}

// newServer returns a server of the chat and its page, which does not listen yet.
func newServer(addr string, c *chat) (*websocket.Server, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, err
	}
	page, err := fs.Sub(pages, "page")
	if err != nil {
		return nil, err
	}
	// A message of a chat is short, and so is what one may keep in the server's memory.
	cfg := tp.PeerConfig{LocalIP: host, ListenPort: uint16(port), MessageSizeLimit: 64 << 10}
	srv := websocket.NewServer("/ws", cfg, c)
	c.register(srv)
	srv.Handle("/", http.FileServerFS(page))
	srv.Handle("/teleport/", http.StripPrefix("/teleport/", http.FileServerFS(js.FS)))
	return srv, nil
}
