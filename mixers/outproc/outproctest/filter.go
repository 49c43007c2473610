package outproctest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/mixers/outproc"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

var filterChecks = []check{
	{name: "round trip", run: filterRoundTrip},
	{name: "limit", run: filterLimit},
	{name: "garbage", run: filterGarbage},
	{name: "concurrent", run: filterConcurrent},
}

func filterOf(t *testing.T, part contract.Part) xfer.Appender {
	f, err := xfer.Get(part.ID)
	require.NoError(t, err)
	require.Equal(t, part.Name, f.Name())
	return f.(xfer.Appender)
}

// sample returns n bytes that compress a little, other ones for each seed.
func sample(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.IntN(17) * 15)
	}
	return b
}

func filterRoundTrip(t *testing.T, _ *outproc.Handle, part contract.Part) {
	f := filterOf(t, part)
	for _, n := range []int{0, 1, 600, 16 << 10, 1 << 20, 8 << 20} {
		want := sample(n, uint64(n))
		packed, err := f.OnPack(want)
		require.NoError(t, err, "pack %d bytes", n)
		got, err := f.OnUnpack(packed)
		require.NoError(t, err, "unpack %d bytes", n)
		require.True(t, bytes.Equal(want, got), "%d bytes came back as %d others", n, len(got))
	}
}

// filterLimit: a result over the limit of the request is an error.
func filterLimit(t *testing.T, _ *outproc.Handle, part contract.Part) {
	f := filterOf(t, part)
	want := sample(10_000, 1)
	packed, err := f.OnPack(want)
	require.NoError(t, err)
	_, err = f.AppendUnpack(nil, packed, len(want)-1)
	require.ErrorIs(t, err, xfer.ErrTooLarge)
	got, err := f.AppendUnpack(nil, packed, len(want))
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
}

// filterGarbage: bytes that were not packed do not end the guest.
func filterGarbage(t *testing.T, h *outproc.Handle, part contract.Part) {
	f := filterOf(t, part)
	packed, err := f.OnPack(sample(1000, 2))
	require.NoError(t, err)
	for _, data := range [][]byte{nil, {0}, []byte("garbage"), packed[:len(packed)/2], append(packed, 1), sample(100_000, 3)} {
		if _, err := f.OnUnpack(data); err != nil && !errors.Is(err, outproc.ErrRefused) && !errors.Is(err, xfer.ErrTooLarge) {
			t.Errorf("OnUnpack of %d bytes that were not packed: %v; want one that the guest refuses with the code 422", len(data), err)
		}
	}
	require.Zero(t, h.Restarts())
}

func filterConcurrent(t *testing.T, h *outproc.Handle, part contract.Part) {
	f := filterOf(t, part)
	var wg sync.WaitGroup
	for caller := range 64 {
		wg.Go(func() {
			for n := range 20 {
				if err := roundTrip(f, sample(600+n, uint64(caller*100+n))); err != nil {
					t.Errorf("caller %d, item %d: %v", caller, n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, h.Restarts())
}

var errOther = errors.New("other bytes came back")

func roundTrip(f xfer.XferFilter, want []byte) error {
	packed, err := f.OnPack(want)
	if err != nil {
		return err
	}
	got, err := f.OnUnpack(packed)
	if err == nil && !bytes.Equal(want, got) {
		err = errOther
	}
	return err
}
