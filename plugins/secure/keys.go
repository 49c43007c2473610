package secure

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// maxSeals is how many messages one key may seal: with more the random nonces
// of AES-GCM might meet.
const maxSeals = 1 << 32

// Key is a secret that both sides share, under a number that travels with each
// message. One number must never stand for two secrets.
type Key struct {
	ID     uint32
	Secret []byte // 16, 24 or 32 random bytes: AES-128, -192 or -256
}

// Keys are the keys of a plugin: one to seal with, and at most one more that is
// only opened with. To change the key while all runs, [Keys.Prepare] the next one
// everywhere, then [Keys.Switch] everywhere. All methods may be called
// concurrently, and one Keys may serve several plugins.
type Keys struct {
	live atomic.Pointer[[]*liveKey] // the first seals; one or two

	mu sync.Mutex // guards changes
}

type liveKey struct {
	id     uint32
	secret []byte
	aead   cipher.AEAD // its nonce is random, and the first 12 bytes of what it seals
	seals  atomic.Uint64
}

// NewKeys returns the key to begin with. It fails if the secret is not 16, 24
// or 32 bytes.
func NewKeys(k Key) (*Keys, error) {
	l, err := newLiveKey(k)
	if err != nil {
		return nil, err
	}
	keys := new(Keys)
	keys.live.Store(&[]*liveKey{l})
	return keys, nil
}

func newLiveKey(k Key) (*liveKey, error) {
	block, err := aes.NewCipher(k.Secret)
	if err != nil {
		return nil, fmt.Errorf("secure: key %d: %w", k.ID, err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("secure: key %d: %w", k.ID, err)
	}
	return &liveKey{id: k.ID, secret: slices.Clone(k.Secret), aead: aead}, nil
}

// Prepare makes next a key that is opened with, in place of an earlier second one.
// It fails on a bad secret, and if the number is that of another live secret.
func (k *Keys) Prepare(next Key) error {
	l, err := newLiveKey(next)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	live := *k.live.Load()
	for _, old := range live {
		if old.id != next.ID {
			continue
		}
		if !bytes.Equal(old.secret, next.Secret) {
			return fmt.Errorf("secure: key %d: the number is that of another secret", next.ID)
		}
		return nil // with its count of seals
	}
	k.live.Store(&[]*liveKey{live[0], l})
	return nil
}

// Switch seals with the second key from now on; the first one becomes the second.
// It fails if there is no second one.
func (k *Keys) Switch() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	live := *k.live.Load()
	if len(live) < 2 {
		return errors.New("secure: switch: no second key was prepared")
	}
	k.live.Store(&[]*liveKey{live[1], live[0]})
	return nil
}

// Current returns the number of the key that is sealed with, and how many
// messages it has sealed in this process.
func (k *Keys) Current() (id uint32, seals uint64) {
	l := (*k.live.Load())[0]
	return l.id, l.seals.Load()
}

// sealer returns the key to seal one message with.
func (k *Keys) sealer() (*liveKey, error) {
	l := (*k.live.Load())[0]
	return l, l.count()
}

// count counts a message that is to be sealed with the key.
func (l *liveKey) count() error {
	if l.seals.Add(1) > maxSeals {
		l.seals.Store(maxSeals)
		return fmt.Errorf("secure: key %d: %w", l.id, ErrRotate)
	}
	return nil
}

// keyOf returns the key that a sealed body names in its head.
func (k *Keys) keyOf(sealed []byte, version byte, least int) (*liveKey, error) {
	if len(sealed) < least {
		return nil, fmt.Errorf("secure: body of %d bytes: %w", len(sealed), ErrTruncated)
	}
	if sealed[0] != version {
		return nil, fmt.Errorf("secure: version %d: %w", sealed[0], ErrVersion)
	}
	id := binary.BigEndian.Uint32(sealed[1:])
	if l := k.find(id); l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("secure: key %d: %w", id, ErrKey)
}

// looksSealed reports whether keyOf would return a key.
func (k *Keys) looksSealed(body []byte, version byte, least int) bool {
	return len(body) >= least && body[0] == version && k.find(binary.BigEndian.Uint32(body[1:])) != nil
}

// find returns the live key of that number, nil if there is none.
func (k *Keys) find(id uint32) *liveKey {
	for _, l := range *k.live.Load() {
		if l.id == id {
			return l
		}
	}
	return nil
}
