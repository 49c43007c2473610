package outproc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// instance is one run of a guest: its process and the lane to it.
type instance struct {
	lane tp.Session
	proc *spawned
	desc contract.Description
	done chan struct{} // closed when it has ended
	err  error         // why; set before done is closed
}

// ask sends an item and returns the answer.
func (i *instance) ask(ctx context.Context, route string, item []byte) ([]byte, error) {
	return tp.Invoke[[]byte](ctx, i.lane, route, item)
}

// start starts an instance and makes its parts ready. The first one makes the parts.
func (h *Handle) start(ctx context.Context, prog *program) (inst *instance, err error) {
	ctx, cancel := context.WithTimeout(ctx, h.guest.StartTimeout)
	defer cancel()
	dir, done, err := useDir()
	if err != nil {
		return nil, err
	}
	defer done()
	proc, err := prog.spawn(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			proc.kill()
		}
	}()
	lane, r := h.peer.DialContext(context.WithValue(ctx, greetingKey{}, proc), proc.addr.String())
	if r.HasError() {
		return nil, fmt.Errorf("open its lane: %w", r.Err())
	}
	defer func() {
		if err != nil {
			lane.Close()
		}
	}()
	inst = &instance{lane: lane, proc: proc, done: make(chan struct{})}
	text, err := inst.ask(ctx, contract.RouteDescribe, nil)
	if err != nil {
		return nil, fmt.Errorf("ask what it is: %w", err)
	}
	if inst.desc, err = contract.ParseDescription(text); err != nil {
		return nil, err
	}
	if err := h.accept(inst.desc); err != nil {
		return nil, err
	}
	config := contract.Configuration{Host: fmt.Sprintf("%s (process %d)", os.Args[0], os.Getpid()), MaxItem: h.guest.MaxItem}
	if h.guest.Config != nil {
		if config.Config, err = json.Marshal(h.guest.Config); err != nil {
			return nil, fmt.Errorf("encode Guest.Config: %w", err)
		}
	}
	body, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	if _, err := inst.ask(ctx, contract.RouteConfigure, body); err != nil {
		return nil, fmt.Errorf("configure it: %w", err)
	}
	for _, p := range h.parts {
		if err := p.prepare(ctx, inst); err != nil {
			return nil, err
		}
	}
	h.owned.Go(func() { inst.watch(h.ctx) })
	return inst, nil
}

// watch waits for the end of the process, of the lane or of ctx, and ends the others.
func (i *instance) watch(ctx context.Context) {
	select {
	case <-ctx.Done():
		i.err = errClosed
	case <-i.proc.exited:
		i.err = fmt.Errorf("its process has ended: %w", i.proc.exitErr)
	case <-i.lane.CloseNotify():
		i.err = errLaneEnded
		select {
		case <-i.proc.exited:
			i.err = fmt.Errorf("its process has ended: %w", i.proc.exitErr)
		case <-time.After(tailTime):
		}
	}
	i.lane.Close()
	i.proc.kill()
	close(i.done)
}

var errLaneEnded = errors.New("its lane has ended")

type greetingKey struct{}

// greet opens a lane: it checks that the process that was started is at its other end,
// and sends it the token.
func greet(sess tp.PreSession) *tp.Rerror {
	proc := sess.Context().Value(greetingKey{}).(*spawned)
	if err := checkPeer(sess, proc.cmd.Process.Pid); err != nil {
		return tp.NewRerror(tp.CodeUnauthorized, tp.CodeText(tp.CodeUnauthorized), err.Error()).WithCause(err)
	}
	hello, err := json.Marshal(contract.Hello{Contract: contract.Version, Token: proc.token, Host: os.Args[0]})
	if err != nil {
		return tp.ToRerror(err)
	}
	var reply []byte
	if r := sess.PreCall(contract.RouteHello, hello, &reply); r.HasError() {
		return r
	}
	var welcome contract.Welcome
	if err := json.Unmarshal(reply, &welcome); err != nil || welcome.Contract != contract.Version {
		return tp.NewRerror(tp.CodeWrongConn, tp.CodeText(tp.CodeWrongConn), fmt.Sprintf("the guest has answered %.100q to the first message of its lane", reply))
	}
	return nil
}
