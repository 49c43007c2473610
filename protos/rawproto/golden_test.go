package rawproto

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"testing"

	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
)

func init() {
	prototest.RegisterFilters()
	xfer.Register(gzipFilter{})
}

// dialectTests are the tests that this protocol shares with others.
var dialectTests = prototest.Dialects[Dialect]{
	Name:   Name,
	New:    NewRawProtoFunc,
	All:    []Dialect{Seed, V5, V7},
	Status: V7,
	StatusReply: func(status string) []byte {
		payload := append([]byte("\x011\x02\x00\x00"), byte(len(status)))
		return framed(V7, nil, append(append(payload, status...), 0, 0, 0))
	},
	Goldens: goldens,
	// What a compressor writes changes with its version.
	ReadOnly: func(_ Dialect, name string) bool { return name == "gzip" || name == "gzip-md5" },
}

var goldens = func() map[string]func() socket.Message {
	all := prototest.Messages()
	all["gzip"] = func() socket.Message {
		return message(1, socket.TypeCall, "/math/add", 'j', "[1,2,3]", socket.WithXferPipe('g'))
	}
	all["gzip-md5"] = func() socket.Message {
		return message(3, socket.TypeCall, "/math/add", 'j', "[1,2,3]", socket.WithXferPipe('g', 'm'))
	}
	all["heartbeat"] = func() socket.Message {
		return message(1, socket.TypeCall, "/heartbeat", 'j', "", socket.WithAddMeta("hb_", "3"))
	}
	all["heartbeat-push"] = func() socket.Message {
		return message(1, socket.TypePush, "/heartbeat", 'j', "", socket.WithAddMeta("hb_", "3"))
	}
	all["heartbeat-reply"] = func() socket.Message { return message(1, socket.TypeReply, "", 'j', "null") }
	all["hello"] = func() socket.Message {
		return message(0, socket.TypeControl, "hello", 0, "", socket.WithAddMeta("v", "1"), socket.WithAddMeta("f", "cancel"))
	}
	all["hello-stream"] = func() socket.Message {
		return message(0, socket.TypeControl, "hello", 0, "", socket.WithAddMeta("v", "1"), socket.WithAddMeta("f", "cancel,stream"), socket.WithAddMeta("w", "16384"))
	}
	all["stream"] = func() socket.Message {
		return message(5, socket.TypeCall, "/chat", 'j', "", socket.WithAddMeta("X-Stream", "262144"))
	}
	all["data"] = func() socket.Message { return message(5, socket.TypeData, "", 'j', `"hi"`) }
	all["data-back"] = func() socket.Message { return message(-5, socket.TypeData, "", 'j', `"oh"`) }
	all["credit"] = func() socket.Message {
		return message(-5, socket.TypeControl, "credit", 0, "", socket.WithAddMeta("n", "131104"), socket.WithAddMeta("m", "1928"))
	}
	all["end"] = func() socket.Message { return message(5, socket.TypeControl, "end", 0, "") }
	all["reset"] = func() socket.Message {
		return message(-5, socket.TypeControl, "reset", 0, "", socket.WithAddMeta("code", "400"), socket.WithAddMeta("reason", "credit"))
	}
	all["cancel"] = func() socket.Message { return message(3, socket.TypeControl, "cancel", 0, "") }
	all["bye"] = func() socket.Message {
		return message(0, socket.TypeControl, "bye", 0, "", socket.WithAddMeta("n", "0"))
	}
	all["bye-409"] = func() socket.Message {
		return message(0, socket.TypeControl, "bye", 0, "", socket.WithAddMeta("n", "7"), socket.WithAddMeta("code", "409"),
			socket.WithAddMeta("message", "Conflict"), socket.WithAddMeta("reason", "id taken"))
	}
	all["secure"] = func() socket.Message {
		return message(1, socket.TypeCall, "/math/add", 'j',
			`{"cipherversion":"1ba49884c59b16619f411c7c80343c9c","ciphertext":"a2b37762f05bf0fc18a57076ca4d4a0c"}`,
			socket.WithAddMeta("X-Secure", "true"))
	}
	return all
}()

func TestDialects(t *testing.T) { dialectTests.Run(t) }

var (
	message = prototest.Message
	pass    = prototest.Pass
	connect = dialectTests.Connect
	current = dialectTests.Current
)

// read reads the one message of a frame.
func read(frame []byte) (socket.Message, error) {
	_, s := connect(nil, nil)
	s.Arrive(frame)
	m := socket.NewMessage()
	return m, s.Unpack(m)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// gzipFilter writes as V7 does, and reads the streams without an end that V5
// writes.
type gzipFilter struct{}

func (gzipFilter) ID() byte     { return xfer.Gzip }
func (gzipFilter) Name() string { return xfer.NameGzip }

func (gzipFilter) OnPack(b []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, 5)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	return out.Bytes(), err
}

func (gzipFilter) OnUnpack(b []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if errors.Is(err, io.ErrUnexpectedEOF) && bytes.HasSuffix(b, []byte{0, 0, 0xff, 0xff}) {
		err = nil
	}
	return out, err
}
