package resume

import (
	"encoding/json"
	"errors"
	"math"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
)

// An owner crosses only if it is equal afterwards.
func TestOwnerCrosses(t *testing.T) {
	type user string
	type key struct{}
	for _, owner := range []map[any]any{
		nil,
		{"user": "ann", "admin": true, 7: int64(math.MinInt64), uint8(7): uint64(math.MaxUint64), false: "<&\u2028\x00\""},
	} {
		list, err := saveOwner(owner)
		require.NoError(t, err)
		b, err := json.Marshal(list)
		require.NoError(t, err)
		list = nil
		require.NoError(t, json.Unmarshal(b, &list))
		again, err := restoreOwner(list)
		require.NoError(t, err)
		require.Equal(t, owner, again)
	}
	for name, owner := range map[string]map[any]any{
		"nil": {"user": nil}, "pointer": {"user": new("ann")}, "bytes": {"user": []byte("ann")}, "defined type": {"user": user("ann")},
		"key": {key{}: "ann"}, "no UTF-8": {"user": "\xff"}, "float": {"user": math.NaN()}, "function": {"user": func() {}},
	} {
		_, err := saveOwner(owner)
		require.ErrorIs(t, err, errors.ErrUnsupported, name)
	}
	ann := savedValue{"string", json.RawMessage(`"ann"`)}
	for name, list := range map[string][]savedOwner{
		"type": {{ann, savedValue{"main.user", ann.JSON}}}, "none": {{ann, savedValue{}}}, "null": {{ann, savedValue{"string", json.RawMessage("null")}}},
		"too large": {{savedValue{"int8", json.RawMessage("128")}, ann}}, "twice": {{ann, ann}, {ann, ann}},
	} {
		_, err := restoreOwner(list)
		require.ErrorContains(t, err, "its owner has", name)
	}
}

// A stream of Streams crosses without its connection, for the same owner.
func TestStreamsRestore(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	listener := func(lc tp.ListenConfig) (*Streams, tp.HandOverListener) {
		s := NewStreams(Options{})
		return s, s.Listener(inner, lc).(tp.HandOverListener)
	}
	old, lis := listener(tp.ListenConfig{})
	defer lis.Close()
	near, far := net.Pipe()
	defer far.Close()
	answer := make([]byte, preambleSize)
	go func() {
		far.Write(preamble{}.append(nil))
		far.Read(answer)
	}()
	facts := tp.ConnFacts{Swap: map[any]any{"user": "ann"}}
	stream, err := old.Accept(t.Context(), near, facts)
	require.NoError(t, err)
	c := stream.(*Conn)
	question := preamble{token: c.token}.append(nil)
	take, err := lis.TakeBack(question, nil)
	require.NoError(t, err)
	take()
	_, err = lis.TakeBack(question, far)
	require.ErrorIs(t, err, errBelow)
	state, below, err := c.Save()
	require.NoError(t, err)
	require.Nil(t, below)

	_, encrypted := listener(tp.ListenConfig{TLS: tp.GenerateTLSConfigForServer()})
	_, err = encrypted.Restore(state, nil)
	require.ErrorIs(t, err, errOneTLS)
	next, to := listener(tp.ListenConfig{})
	_, err = to.Restore(state, far)
	require.ErrorIs(t, err, errBelow)
	moved, err := to.Restore(state, nil)
	require.NoError(t, err)
	c.Settle(false)
	moved.Settle(true)
	defer moved.(*Conn).fail(net.ErrClosed)
	require.Equal(t, facts.Swap, moved.(*Conn).owner)
	require.NotNil(t, next.l.find(c.token))
	_, err = lis.TakeBack(question, nil)
	require.Error(t, err)
	require.Equal(t, c.LocalAddr(), near.LocalAddr())
}
