package outproc

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/mixers/outproc/guest"
)

func init() {
	roles["chain"] = func() { guest.Config{Name: "chain"}.Serve(reverse{203, "reverse it"}, quote{204}) }
}

// quote puts quotes around the bytes.
type quote struct{ id byte }

func (q quote) ID() byte   { return q.id }
func (quote) Name() string { return "quote" }
func (quote) OnPack(data []byte) ([]byte, error) {
	return slices.Concat([]byte("<"), data, []byte(">")), nil
}

func (quote) OnUnpack(data []byte) ([]byte, error) {
	if len(data) < 2 || data[0] != '<' {
		return nil, errors.New("no quotes")
	}
	return data[1 : len(data)-1], nil
}

// Neighbours of a pipe that are filters of one guest are one item.
func TestChain(t *testing.T) {
	tptest.LeakCheck(t)
	loadRole(t, "chain")
	loadRole(t, "parts")
	a, err := xfer.Get(203)
	require.NoError(t, err)
	b, err := xfer.Get(204)
	require.NoError(t, err)

	ab, ok := a.(xfer.Joiner).Join(b)
	require.True(t, ok)
	require.Equal(t, "/xfer/203+204/pack", ab.(*filter).pack)
	again, _ := a.(xfer.Joiner).Join(b)
	require.Same(t, ab, again)
	aba, ok := ab.(xfer.Joiner).Join(a)
	require.True(t, ok)
	require.Equal(t, "/xfer/203+204+203/unpack", aba.(*filter).unpack)
	_, ok = a.(xfer.Joiner).Join(filterOf(t))
	require.False(t, ok, "a filter of another guest")
	_, ok = a.(xfer.Joiner).Join(quote{204})
	require.False(t, ok, "a filter of this process")

	x := xfer.NewXferPipe()
	require.NoError(t, x.Append(203, 204, 203))
	packed, err := x.OnPack([]byte("body"))
	require.NoError(t, err)
	require.Equal(t, ">body<", string(packed)) // reversed, quoted, reversed
	back, err := x.OnUnpack(packed)
	require.NoError(t, err)
	require.Equal(t, "body", string(back))
	_, err = x.OnUnpack([]byte("body"))
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorContains(t, err, "filter quote: no quotes")
	_, err = x.AppendUnpack(nil, packed, 5) // with its quotes it has 6
	require.ErrorIs(t, err, xfer.ErrTooLarge)

	many := xfer.NewXferPipe()
	for range 10 { // more than are joined
		require.NoError(t, many.Append(204))
	}
	packed, err = many.OnPack([]byte("x"))
	require.NoError(t, err)
	require.Equal(t, string(bytes.Repeat([]byte("<"), 10))+"x"+string(bytes.Repeat([]byte(">"), 10)), string(packed))
	back, err = many.OnUnpack(packed)
	require.NoError(t, err)
	require.Equal(t, "x", string(back))
}
