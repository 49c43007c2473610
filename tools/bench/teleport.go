package main

import (
	"bytes"
	"context"
	"fmt"

	tp "github.com/teleport-go/teleport/core"
	_ "github.com/teleport-go/teleport/mixers/standard"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

// Record is a JSON body of about bodySize bytes.
type Record struct {
	ID      int64    `json:"id"`
	Name    string   `json:"name"`
	Tags    []string `json:"tags"`
	Payload string   `json:"payload"`
}

func newRecord() *Record {
	return &Record{ID: 42, Name: "benchmark", Tags: []string{"push", "call", "reply"}, Payload: string(bytes.Repeat([]byte("x"), 505))}
}

// Echo has the seed's style of handlers.
type Echo struct{ tp.CallCtx }

// Bytes answers with its argument.
func (*Echo) Bytes(arg *[]byte) ([]byte, *tp.Rerror) { return *arg, nil }

// Json answers with its argument.
func (*Echo) Json(arg *Record) (*Record, *tp.Rerror) { return arg, nil }

func teleportServe() (string, error) {
	tp.SetLoggerLevel("ERROR")
	srv, err := tp.Open(tp.PeerConfig{LocalIP: "127.0.0.1"})
	if err != nil {
		return "", err
	}
	srv.RouteCall(new(Echo))
	tp.HandleCall(srv, "/typed/bytes", func(_ tp.CallCtx, arg *[]byte) ([]byte, error) { return *arg, nil })
	tp.HandleCall(srv, "/typed/json", func(_ tp.CallCtx, arg *Record) (*Record, error) { return arg, nil })
	if err := srv.Listen(); err != nil {
		return "", err
	}
	return srv.Addrs()[0].String(), nil
}

var teleportClient = func() func() tp.Peer {
	var p tp.Peer
	return func() tp.Peer {
		if p == nil {
			tp.SetLoggerLevel("ERROR")
			p = tp.NewPeer(tp.PeerConfig{})
		}
		return p
	}
}()

func teleportDial(makeCall func(s tp.Session) func() error) func(addr string) (func() error, error) {
	return func(addr string) (func() error, error) {
		s, r := teleportClient().Dial(addr)
		if r != nil {
			return nil, r.Err()
		}
		return makeCall(s), nil
	}
}

func teleportCandidates() []harness.Candidate {
	body := bytes.Repeat([]byte("x"), bodySize)
	record := newRecord()
	return []harness.Candidate{
		{Name: "typed-bytes", Serve: teleportServe, Dial: teleportDial(func(s tp.Session) func() error {
			return func() error {
				reply, err := tp.Invoke[[]byte](context.Background(), s, "/typed/bytes", &body)
				if err == nil && len(reply) != bodySize {
					err = fmt.Errorf("reply of %d bytes", len(reply))
				}
				return err
			}
		})},
		{Name: "seed-bytes", Serve: teleportServe, Dial: teleportDial(func(s tp.Session) func() error {
			return func() error {
				var reply []byte
				r := s.Call("/echo/bytes", &body, &reply).Rerror()
				if r == nil && len(reply) != bodySize {
					return fmt.Errorf("reply of %d bytes", len(reply))
				}
				return r.Err()
			}
		})},
		{Name: "typed-json", Serve: teleportServe, Dial: teleportDial(func(s tp.Session) func() error {
			return func() error {
				_, err := tp.Invoke[*Record](context.Background(), s, "/typed/json", record)
				return err
			}
		})},
		{Name: "seed-json", Serve: teleportServe, Dial: teleportDial(func(s tp.Session) func() error {
			return func() error {
				var reply Record
				return s.Call("/echo/json", record, &reply).Rerror().Err()
			}
		})},
	}
}
