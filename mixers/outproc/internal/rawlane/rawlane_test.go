package rawlane

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/protos/rawproto"
)

type buffer struct{ bytes.Buffer }

// What this package writes the protocol reads, and the other way round.
func TestFrames(t *testing.T) {
	want := Frame{Seq: "1z", Type: Call, Route: "/xfer/109/pack", Meta: "a=b", Body: []byte("body")}
	var b buffer
	b.Write(want.Append(nil))
	m := socket.NewMessage()
	require.NoError(t, rawproto.NewRawProtoFunc()(&b).Unpack(m))
	require.EqualValues(t, 71, m.Seq())
	require.Equal(t, Call, m.Mtype())
	require.Equal(t, want.Route, m.ServiceMethod())
	require.Equal(t, "b", string(m.Meta().Peek("a")))
	require.Equal(t, "body", string(m.RawBody()))

	m.SetBody([]byte("other"))
	require.NoError(t, rawproto.NewRawProtoFunc()(&b).Pack(m))
	got, err := Read(&b)
	require.NoError(t, err)
	want.Body = []byte("other")
	require.Equal(t, want, got)
}

func FuzzRead(f *testing.F) {
	good := Frame{Seq: "1", Type: Call, Route: "/r", Meta: "a=b", Body: []byte("body")}.Append(nil)
	f.Add(good)
	f.Add(good[:12])
	f.Add([]byte{0, 0, 0, 8, 'r', 0, 200, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, err := Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := Read(bytes.NewReader(fr.Append(nil)))
		require.NoError(t, err)
		require.Equal(t, fr.Route+fr.Seq+fr.Meta+string(fr.Body), again.Route+again.Seq+again.Meta+string(again.Body))
	})
}
