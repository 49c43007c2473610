package kcp

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	kcpgo "github.com/xtaci/kcp-go/v5"
)

func TestSeal(t *testing.T) {
	dialled, accepted := newSeal(key, true), newSeal(key, false)
	datagram := []byte("a packet")
	sealed := dialled.append(nil, datagram)
	require.Len(t, sealed, len(datagram)+sealOverhead)
	open := func(s *seal, o *opener, b []byte) (string, error) {
		got, err := s.open(o, bytes.Clone(b))
		return string(got), err
	}
	for _, o := range []*opener{nil, {}, {}} {
		for range 2 { // with the key that the opener has kept too
			got, err := open(accepted, o, sealed)
			require.NoError(t, err)
			require.Equal(t, "a packet", got)
		}
	}
	require.NotEqual(t, sealed, dialled.append(nil, datagram), "the same datagram again")

	_, err := open(dialled, nil, sealed)
	require.ErrorIs(t, err, errSeal, "a datagram that comes back to its sender")
	_, err = open(newSeal([]byte("another key of 24 bytes!"), false), nil, sealed)
	require.ErrorIs(t, err, errSeal, "another key")
	for i := range sealed {
		b := bytes.Clone(sealed)
		b[i] ^= 1
		_, err := open(accepted, nil, b)
		require.ErrorIs(t, err, errSeal, "byte %d was changed", i)
		_, err = open(accepted, nil, sealed[:i])
		require.ErrorIs(t, err, errSeal, "cut to %d bytes", i)
	}
	require.Nil(t, newSeal(nil, true))
}

// packet returns a packet of KCP.
func packet(conv uint32, command byte, number uint32) []byte {
	b := make([]byte, kcpgo.IKCP_OVERHEAD)
	binary.LittleEndian.PutUint32(b, conv)
	b[kcpCommand] = command
	binary.LittleEndian.PutUint32(b[kcpNumber:], number)
	return b
}

// fec puts the head of forward error correction in front.
func fec(flag uint16, b []byte) []byte {
	head := make([]byte, fecHead)
	binary.LittleEndian.PutUint16(head[4:], flag)
	return append(head, b...)
}

// Only the first packet of a session makes one; a listener that does not have a session
// says so.
func TestWire(t *testing.T) {
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	w := newWire(udp, nil, netip.AddrPort{})
	defer w.release()
	other, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer other.Close()
	from := other.LocalAddr().(*net.UDPAddr).AddrPort()
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	gone := func(want uint32) {
		t.Helper()
		room := make([]byte, 100)
		other.SetReadDeadline(time.Now().Add(patience))
		n, err := other.Read(room)
		require.NoError(t, err)
		conv, ok := parseGone(room[:n])
		require.True(t, ok)
		require.Equal(t, want, conv)
	}
	require.Nil(t, w.accept([]byte("garbage"), from))
	require.Nil(t, w.accept(fec(fecParity, packet(1, kcpPush, 0)), from), "parity of an unknown session")
	require.Nil(t, w.accept(packet(1, kcpPush, 5), from), "the middle of an unknown session")
	gone(1)
	require.Nil(t, w.accept(packet(2, 82, 0), from), "an acknowledgement for an unknown session")
	gone(2)
	require.Empty(t, w.peers)

	first := packet(3, kcpPush, 0)
	require.Equal(t, first, w.accept(first, from))
	require.Equal(t, 1, w.opening)
	next := packet(3, kcpPush, 1)
	require.Equal(t, next, w.accept(next, from))
	parity := fec(fecParity, packet(9, 9, 9))
	require.Equal(t, parity, w.accept(parity, from))
	require.Nil(t, w.accept(packet(4, kcpPush, 1), from), "another session from the same address")
	gone(4)
	again := fec(fecData, packet(5, kcpPush, 0))
	require.Equal(t, again, w.accept(again, from), "the other side has begun again")
	require.Equal(t, uint32(5), w.peers[from].conv)
	require.Equal(t, 1, w.opening)

	for i := range 2 * maxOpening {
		w.accept(packet(6, kcpPush, 0), netip.AddrPortFrom(from.Addr(), uint16(10_000+i)))
	}
	require.Equal(t, maxOpening, w.opening)
	w.forget(from, 4)
	require.Equal(t, maxOpening, w.opening, "another session's end")
	w.forget(from, 5)
	require.Equal(t, maxOpening-1, w.opening)
	w.stop()
	require.Nil(t, w.accept(packet(7, kcpPush, 0), from), "the listener is closed")
	gone(7)
}

// No datagram makes a panic, or a session without its first packet.
func FuzzDatagram(f *testing.F) {
	f.Add(packet(1, kcpPush, 0), true)
	f.Add(fec(fecData, packet(1, kcpPush, 0)), false)
	f.Add(fec(fecParity, packet(1, 81, 0)), false)
	f.Add(fec(fecData, nil), false)
	f.Add(appendGone(nil, 1), false)
	f.Add(newSeal(key, true).append(nil, packet(1, kcpPush, 0)), true)
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { udp.Close() })
	from := netip.MustParseAddrPort("127.0.0.1:9") // discard
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		w := newWire(udp, nil, netip.AddrPort{})
		if sealed {
			w.seal = newSeal(key, false)
		}
		in := bytes.Clone(b)
		got := w.accept(b, from)
		if got == nil {
			require.Empty(t, w.peers)
			return
		}
		require.LessOrEqual(t, len(got), len(in))
		conv, first, ok := parsePacket(got)
		require.True(t, first && ok)
		require.Equal(t, conv, w.peers[from].conv)
	})
}
