package kcp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync/atomic"
)

const (
	saltSize     = 16
	counterSize  = 8
	tagSize      = 16
	sealOverhead = saltSize + counterSize + tagSize
)

// seal encrypts and authenticates the datagrams of a socket. A nil *seal leaves them as
// they are.
type seal struct {
	secret  []byte // the pseudorandom key of HKDF
	dialled bool
	salt    [saltSize]byte // of this socket
	own     cipher.AEAD
	counter atomic.Uint64 // of the last datagram that was sealed
}

// newSeal returns the seal of a socket; nil without a key.
func newSeal(key []byte, dialled bool) *seal {
	if len(key) == 0 {
		return nil
	}
	secret, err := hkdf.Extract(sha256.New, key, nil)
	if err != nil {
		panic(err) // only with an unapproved hash in FIPS mode
	}
	s := &seal{secret: secret, dialled: dialled}
	rand.Read(s.salt[:])
	s.own = s.aead(s.salt[:], dialled)
	return s
}

// aead returns what seals the datagrams of the socket with this salt. The directions have
// different keys, so that a side does not take its own datagrams for the other side's.
func (s *seal) aead(salt []byte, dialled bool) cipher.AEAD {
	info := "teleport kcp accepted "
	if dialled {
		info = "teleport kcp dialled "
	}
	key, err := hkdf.Expand(sha256.New, s.secret, info+string(salt), 32)
	if err != nil {
		panic(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return a
}

// append appends the sealed datagram to dst. It may be called concurrently.
func (s *seal) append(dst, datagram []byte) []byte {
	var nonce [12]byte
	binary.BigEndian.PutUint64(nonce[4:], s.counter.Add(1))
	dst = append(dst, s.salt[:]...)
	dst = append(dst, nonce[4:]...)
	return s.own.Seal(dst, nonce[:], datagram, nil)
}

var errSeal = errors.New("kcp: a datagram without the key")

// opener opens the datagrams of one other socket. It is used by one goroutine at a time.
type opener struct {
	salt [saltSize]byte
	aead cipher.AEAD
}

// open returns the datagram in place of the sealed one. o, if it is not nil, keeps the key
// for the next time.
func (s *seal) open(o *opener, sealed []byte) ([]byte, error) {
	if len(sealed) < sealOverhead {
		return nil, errSeal
	}
	salt := [saltSize]byte(sealed)
	var nonce [12]byte
	copy(nonce[4:], sealed[saltSize:])
	a := cipher.AEAD(nil)
	if o != nil && o.aead != nil && o.salt == salt {
		a = o.aead
	} else {
		a = s.aead(salt[:], !s.dialled)
	}
	body := sealed[saltSize+counterSize:]
	plain, err := a.Open(body[:0], nonce[:], body, nil)
	if err != nil {
		return nil, errSeal
	}
	if o != nil {
		o.salt, o.aead = salt, a
	}
	return plain, nil
}
