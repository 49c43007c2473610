package tp

import (
	"fmt"
	"math/rand/v2"
	"sync"
)

// ledger is a plugin that counts its hooks' runs, and sometimes fails.
type ledger struct {
	mu            sync.Mutex // guards the fields below
	rng           *rand.Rand
	mood          int // 0: succeeds, 1: refuses, 2: panics or blocks
	entered, left map[*session]int
	wrong         []string
}

func (l *ledger) Name() string { return "ledger" }

func (l *ledger) misbehave(mood int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mood = mood
}

func (l *ledger) enter(s PreSession) *Rerror {
	l.mu.Lock()
	mood, n := l.mood, l.rng.IntN(4)
	l.mu.Unlock()
	switch {
	case mood == 1 && n == 0:
		return NewRerror(CodeUnauthorized, "no", "")
	case mood == 1 && n == 1:
		return NewRerror(500, "no", "")
	case mood == 2 && n == 0:
		panic("on purpose")
	case mood == 2 && n == 1:
		s.PreReceive(nil)
		return NewRerror(500, "no", "")
	}
	if n == 3 {
		s.SetID(string(rune('a' + len(s.ID())%4)))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entered[s.(*session)]++
	return nil
}

func (l *ledger) PostDial(s PreSession) *Rerror   { return l.enter(s) }
func (l *ledger) PostAccept(s PreSession) *Rerror { return l.enter(s) }

func (l *ledger) PostDisconnect(b BaseSession) *Rerror {
	s := b.(*session)
	inHub := false
	for _, x := range s.env.hub.all() {
		inHub = inHub || x == s
	}
	st := s.getState()
	l.mu.Lock()
	defer l.mu.Unlock()
	if inHub || st != closed {
		l.wrong = append(l.wrong, fmt.Sprintf("PostDisconnect of a session in state %v, in the hub: %v", st, inHub))
	}
	l.left[s]++
	return nil
}

// verdict checks the counts of the hooks.
func (l *ledger) verdict() (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all = l.wrong
	for s := range l.entered {
		if l.left[s] != 1 {
			all = append(all, fmt.Sprintf("PostDisconnect of %s ran %d times", s.ID(), l.left[s]))
		}
	}
	for s := range l.left {
		if l.entered[s] == 0 {
			all = append(all, fmt.Sprintf("PostDisconnect of %s, which was never accepted", s.ID()))
		}
	}
	return all
}
