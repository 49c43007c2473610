package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	tp "github.com/teleport-go/teleport/core"
)

// chat is the state of the server, and a plugin that clears up when a session ends.
type chat struct {
	idle, answer time.Duration

	mu      sync.Mutex
	members map[tp.Session]*member
}

// member is somebody in a room. A session is in one room at most.
type member struct {
	Name string `json:"name"`
	Room string `json:"room"`
	// Key is the page's, the same as long as it is open: one that comes back while its
	// former connection seems to be alive takes its own name over.
	Key string `json:"key"`

	ask *time.Timer // asks whether somebody is still there
}

// heard is a line that the members of a room read.
type heard struct {
	From string `json:"from"` // "" is the server
	Text string `json:"text"`
}

// Limits of what a client may send, in bytes.
const (
	maxName = 40
	maxText = 4000
)

func newChat(idle, answer time.Duration) *chat {
	return &chat{idle: idle, answer: answer, members: make(map[tp.Session]*member)}
}

var _ tp.PostDisconnectPlugin = (*chat)(nil)

func (c *chat) Name() string { return "chat" }

func (c *chat) register(srv tp.Peer) {
	tp.HandleCall(srv, "/chat/enter", c.enter, tp.Ordered())
	tp.HandleCall(srv, "/chat/say", c.say, tp.Ordered()) // the texts of a member arrive in their order
	tp.HandleCall(srv, "/chat/leave", func(ctx tp.CallCtx, _ *any) (any, error) {
		c.remove(ctx.Session().(tp.Session), "has left")
		return nil, nil
	})
}

// enter takes a member into a room, and returns the name: if it is taken the page is asked
// for another one. The member leaves its former room.
func (c *chat) enter(ctx tp.CallCtx, arg *member) (name string, err error) {
	sess := ctx.Session().(tp.Session)
	c.remove(sess, "has left")
	m := &member{Name: arg.Name, Room: arg.Room, Key: arg.Key}
	for {
		if err := check("name", &m.Name, maxName); err != nil {
			return "", err
		}
		if err := check("room", &m.Room, maxName); err != nil {
			return "", err
		}
		if c.add(sess, m) {
			break
		}
		question := m.Name + " is in the room already. What is your name?"
		if m.Name, err = tp.Invoke[string](ctx.Context(), sess, "/chat/name", question); err != nil {
			return "", err
		}
	}
	c.tell(m.Room, heard{Text: m.Name + " has entered"})
	c.online(m.Room)
	return m.Name, nil
}

// check cleans a text and refuses it if it is empty or too long.
func check(what string, text *string, limit int) error {
	*text = strings.TrimSpace(*text)
	if *text == "" || len(*text) > limit || !utf8.ValidString(*text) {
		return tp.NewRerror(tp.CodeBadMessage, "Bad "+what, fmt.Sprintf("a %s has 1 to %d bytes", what, limit)).Err()
	}
	return nil
}

// add reports whether the name was free, or that of the same page.
func (c *chat) add(sess tp.Session, m *member) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other, o := range c.members {
		switch {
		case other == sess, o.Room != m.Room || o.Name != m.Name:
		case o.Key != m.Key || m.Key == "":
			return false
		default:
			c.forget(other)
		}
	}
	select {
	case <-sess.CloseNotify(): // PostDisconnect may have run: nobody would clear up
		return true
	default:
	}
	c.forget(sess)
	m.ask = time.AfterFunc(c.idle, func() { c.stillThere(sess) })
	c.members[sess] = m
	return true
}

// forget removes a session; the caller holds c.mu.
func (c *chat) forget(sess tp.Session) *member {
	m := c.members[sess]
	if m != nil {
		m.ask.Stop()
		delete(c.members, sess)
	}
	return m
}

// say pushes a text to all of the room.
func (c *chat) say(ctx tp.CallCtx, text *string) (any, error) {
	if err := check("text", text, maxText); err != nil {
		return nil, err
	}
	c.mu.Lock()
	m := c.members[ctx.Session().(tp.Session)]
	if m != nil {
		m.ask.Reset(c.idle)
	}
	c.mu.Unlock()
	if m == nil {
		return nil, tp.NewRerror(tp.CodeForbidden, "Forbidden", "enter a room first").Err()
	}
	c.tell(m.Room, heard{m.Name, *text})
	return nil, nil
}

// stillThere asks a member that has been silent. Without an answer the member leaves.
func (c *chat) stillThere(sess tp.Session) {
	ctx, cancel := context.WithTimeout(context.Background(), c.answer)
	defer cancel()
	if _, err := tp.Invoke[any](ctx, sess, "/chat/there", "Still there?"); err != nil {
		if c.remove(sess, "seems to be away") {
			c.push(sess, "/chat/left", "You have not answered.")
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.members[sess]; m != nil {
		m.ask.Reset(c.idle)
	}
}

// PostDisconnect runs when a session has ended, whatever the reason.
func (c *chat) PostDisconnect(sess tp.BaseSession) *tp.Rerror {
	c.remove(sess.(tp.Session), "is gone")
	return nil
}

// remove takes a session out of its room, and reports whether it was in one.
func (c *chat) remove(sess tp.Session, why string) bool {
	c.mu.Lock()
	m := c.forget(sess)
	c.mu.Unlock()
	if m == nil {
		return false
	}
	c.tell(m.Room, heard{Text: m.Name + " " + why})
	c.online(m.Room)
	return true
}

// room returns the members of a room.
func (c *chat) room(room string) (sessions []tp.Session, names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for sess, m := range c.members {
		if m.Room == room {
			sessions = append(sessions, sess)
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	return sessions, names
}

// tell pushes a line to a room.
func (c *chat) tell(room string, h heard) {
	sessions, _ := c.room(room)
	for _, sess := range sessions {
		c.push(sess, "/chat/heard", h)
	}
}

// online pushes the names of the members to a room.
func (c *chat) online(room string) {
	sessions, names := c.room(room)
	for _, sess := range sessions {
		c.push(sess, "/chat/online", names)
	}
}

// push waits at most a second for a member that does not read. If it fails the session has
// ended, or will.
func (c *chat) push(sess tp.Session, route string, body any) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	sess.Push(route, body, tp.WithContext(ctx))
}
