package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/protos/jsonproto"
)

// Frames of a few hundred bytes that unpack to 16 MiB, from peers that nobody knows,
// take no more memory than others: a protocol is recognised by the first bytes.
func TestFirstFramesAreBombs(t *testing.T) {
	const bombs = 30
	pipe := xfer.NewXferPipe()
	if err := pipe.Append('g', 'g'); err != nil {
		t.Fatal(err)
	}
	packed, err := pipe.AppendPack(nil, bytes.Repeat([]byte("x"), 16<<20)) // no protocol begins with x
	if err != nil {
		t.Fatal(err)
	}
	frame := binary.BigEndian.AppendUint32(nil, uint32(4+1+2+len(packed)))
	frame = append(append(frame, 2, 'g', 'g'), packed...)
	addr := serve(t, tp.PeerConfig{})
	sess, r := newClient(t).Dial(addr, jsonproto.NewJSONProtoFunc())
	if r.HasError() {
		t.Fatal(r)
	}
	if err := call(sess, client{}, "", 100); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var wg sync.WaitGroup
	for range bombs {
		wg.Go(func() {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			conn.Write(frame)
			conn.SetReadDeadline(time.Now().Add(patience))
			if n, err := io.Copy(io.Discard, conn); n != 0 || isTimeout(err) {
				t.Errorf("after a bomb of %d bytes: read %d bytes and %v, want the end", len(frame), n, err)
			}
		})
	}
	for range 10 {
		if err := call(sess, client{}, "", 100); err != nil {
			t.Errorf("a call beside: %v", err)
		}
	}
	wg.Wait()
	runtime.ReadMemStats(&after)
	if took := (after.TotalAlloc - before.TotalAlloc) / bombs; took > 1<<20 {
		t.Errorf("each bomb of %d bytes took %d bytes of memory, want 1 MiB at most", len(frame), took)
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}
