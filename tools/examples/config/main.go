// Command config reads its peers' configuration from YAML.
package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"log"

	"go.yaml.in/yaml/v3"

	tp "github.com/teleport-go/teleport/core"
	_ "github.com/teleport-go/teleport/mixers/standard"
)

//go:embed config.yaml
var file []byte

// Config is the file. PeerConfig has tags for yaml and ini, and durations are
// written as 1m30s.
type Config struct {
	Server tp.PeerConfig
	Client tp.PeerConfig
}

func readConfig(r io.Reader) (c Config, err error) {
	d := yaml.NewDecoder(r)
	d.KnownFields(true) // a key that is misspelt is an error
	if err := d.Decode(&c); err != nil {
		return c, fmt.Errorf("config: %w", err)
	}
	return c, nil
}

func main() {
	cfg, err := readConfig(bytes.NewReader(file))
	if err != nil {
		log.Fatal(err)
	}
	tp.SetLoggerLevel("ERROR")

	srv, err := tp.Open(cfg.Server) // NewPeer that returns the error
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	tp.HandleCall(srv, "/age", func(ctx tp.CallCtx, _ *string) (string, error) {
		codec := ctx.GetBodyCodec()
		return fmt.Sprintf("asked in %q, handlers have %v", codec, ctx.Session().ContextAge()), nil
	})
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}

	cli, err := tp.Open(cfg.Client)
	if err != nil {
		log.Fatal(err)
	}
	defer cli.Close()
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	if rerr != nil {
		log.Fatal(rerr)
	}
	var answer string
	if rerr := sess.Call("/age", "how old may I get?", &answer).Rerror(); rerr != nil {
		log.Fatal(rerr)
	}
	fmt.Println(answer)

	// A setting that cannot work is an error when the peer is made.
	_, err = tp.Open(tp.PeerConfig{Network: "carrier pigeon"})
	fmt.Println(err)
}
