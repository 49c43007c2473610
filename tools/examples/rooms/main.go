// Command rooms has chat rooms: sessions join and leave them, what one says is pushed to
// the others, and a session that ends leaves its rooms.
package main

import (
	"context"
	"fmt"
	"log"
	"slices"
	"sync"
	"time"

	tp "github.com/teleport-go/teleport/core"
	_ "github.com/teleport-go/teleport/mixers/standard"
)

// rooms are the rooms of a server, and a plugin that clears up when a session ends. A
// session is a key like any other value that can be compared: it is the same one in
// handlers, in hooks and from Peer.GetSession, also after a redial.
type rooms struct {
	mu    sync.Mutex
	rooms map[string]map[tp.Session]string // by name: the members, and what they are called
}

var _ tp.PostDisconnectPlugin = (*rooms)(nil)

func (r *rooms) Name() string { return "rooms" }

type joining struct{ Room, Name string }

// join is /rooms/join.
func (r *rooms) join(ctx tp.CallCtx, arg *joining) (int, error) {
	sess := ctx.Session().(tp.Session)
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-sess.CloseNotify(): // PostDisconnect may have run: nobody would clear up
		return 0, tp.ErrConnClosed
	default:
	}
	if r.rooms[arg.Room] == nil {
		r.rooms[arg.Room] = make(map[tp.Session]string)
	}
	r.rooms[arg.Room][sess] = arg.Name
	return len(r.rooms[arg.Room]), nil
}

// leave is /rooms/leave.
func (r *rooms) leave(ctx tp.CallCtx, room *string) (int, error) {
	r.remove(*room, ctx.Session().(tp.Session))
	return len(r.members(*room)), nil
}

type saying struct{ Room, Text string }

// say is /rooms/say: all members of the room hear it but the one who says it.
func (r *rooms) say(ctx tp.CallCtx, arg *saying) (heard int, err error) {
	members := r.members(arg.Room)
	for member := range members {
		if member == ctx.Session() {
			continue
		}
		if r.tell(member, members[ctx.Session().(tp.Session)]+": "+arg.Text) {
			heard++
		}
	}
	return heard, nil
}

// tell pushes without the lock, and waits at most a second for a member that does not read.
func (r *rooms) tell(member tp.Session, text string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return member.Push("/heard", text, tp.WithContext(ctx)) == nil
}

// PostDisconnect runs once for a session, when it has ended for good, whatever the reason.
func (r *rooms) PostDisconnect(ended tp.BaseSession) *tp.Rerror {
	sess := ended.(tp.Session)
	r.mu.Lock()
	var in []string
	for room, members := range r.rooms {
		if _, ok := members[sess]; ok {
			in = append(in, room)
		}
	}
	r.mu.Unlock()
	for _, room := range in {
		name := r.remove(room, sess)
		for member := range r.members(room) {
			r.tell(member, name+" is gone")
		}
	}
	return nil
}

// remove takes a session out of a room, and returns what it was called there.
func (r *rooms) remove(room string, sess tp.Session) (name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name = r.rooms[room][sess]
	if delete(r.rooms[room], sess); len(r.rooms[room]) == 0 {
		delete(r.rooms, room)
	}
	return name
}

// members is a copy.
func (r *rooms) members(room string) map[tp.Session]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[tp.Session]string, len(r.rooms[room]))
	for sess, name := range r.rooms[room] {
		all[sess] = name
	}
	return all
}

func (r *rooms) names(room string) (names []string) {
	for _, name := range r.members(room) {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func main() {
	tp.SetLoggerLevel("ERROR")
	r := &rooms{rooms: make(map[string]map[tp.Session]string)}
	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1"}, r)
	defer srv.Close()
	tp.HandleCall(srv, "/rooms/join", r.join)
	tp.HandleCall(srv, "/rooms/leave", r.leave)
	tp.HandleCall(srv, "/rooms/say", r.say)
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	heard := make(chan string, 10) // by all clients
	enter := func(name string) tp.Session {
		cli := tp.NewPeer(tp.PeerConfig{})
		tp.HandlePush(cli, "/heard", func(_ tp.PushCtx, text *string) error {
			heard <- name + " hears " + *text
			return nil
		})
		sess, rerr := cli.Dial(srv.Addrs()[0].String())
		if rerr != nil {
			log.Fatal(rerr)
		}
		n, err := tp.Invoke[int](ctx, sess, "/rooms/join", joining{"tea", name})
		fmt.Println(name, "is one of", n, err)
		return sess
	}
	ann, bob, cid := enter("ann"), enter("bob"), enter("cid")
	defer ann.Peer().Close()
	defer bob.Peer().Close()

	n, err := tp.Invoke[int](ctx, ann, "/rooms/say", saying{"tea", "hello"})
	fmt.Println("ann was heard by", n, err)
	lines := []string{<-heard, <-heard}
	slices.Sort(lines)
	fmt.Println(lines[0])
	fmt.Println(lines[1])

	n, err = tp.Invoke[int](ctx, bob, "/rooms/leave", "tea")
	fmt.Println("bob leaves", n, err)

	cid.Peer().Close()
	fmt.Println(<-heard)
	fmt.Println("in the room:", r.names("tea"))
}
