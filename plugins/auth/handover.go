package auth

import (
	"encoding/json"
	"errors"

	tp "github.com/teleport-go/teleport/core"
)

// This file holds what crosses when a Reboot hands a session to the new process: what the
// Checker has granted, so that the peer need not show its credentials again.

var _ tp.SwapOwner = (*CheckerPlugin)(nil)

// OwnsSwap reports whether the key is that of the session's Grant.
func (*CheckerPlugin) OwnsSwap(key any) bool { return key == grantedKey{} }

// Save returns the Grant of the session, nothing if it has none. The new process believes
// it; its own Checker is asked at the next renewal.
func (p *CheckerPlugin) Save(sess tp.BaseSession) ([]byte, error) {
	g := grantedOf(sess.Swap())
	if g == nil {
		return nil, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended || g.checking || g.gone.Load() != nil {
		return nil, errors.New("the credentials of the session end, or are being renewed")
	}
	return json.Marshal(g.now.Load())
}

// Restore puts the Grant that Save has returned.
func (p *CheckerPlugin) Restore(sess tp.PreSession, saved []byte) *tp.Rerror {
	s, ok := sess.(tp.Session) // the engine's sessions are both
	if len(saved) == 0 || !ok {
		return nil
	}
	var t terms
	if err := json.Unmarshal(saved, &t); err != nil {
		return tp.NewRerror(tp.CodeBadMessage, tp.CodeText(tp.CodeBadMessage), "auth: the Grant of the old process cannot be read: "+err.Error())
	}
	if r := t.Grant.valid(); r.HasError() {
		return r
	}
	p.granted(s).begin(t)
	return nil
}
