package tp

import "testing"

// TestLookupRemembers looks up messages one after the other with one context, which remembers
// the route that was named last.
func TestLookupRemembers(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		_, s := w.pair()
		c := &handlerCtx{sess: s}
		c.in.SetInterner((*interner)(c))
		lookup := func(mtype byte, method string) string {
			c.in.Clear()
			c.in.SetMtype(mtype)
			c.in.SetServiceMethodBytes([]byte(method))
			if h := c.lookup(); h != nil {
				return h.RouterTypeName() + " " + h.Name()
			}
			return "none"
		}
		wantRoute := func(mtype byte, method, want string) {
			t.Helper()
			if got := lookup(mtype, method); got != want {
				t.Errorf("%s to %q: the handler is %q; want %q", TypeText(mtype), method, got, want)
			}
		}
		for range 2 {
			wantRoute(TypeCall, "/echo", "CALL /echo")
			wantRoute(TypeCall, "/echo?a=b", "CALL /echo")
			wantRoute(TypePush, "/echo", "none")
			wantRoute(TypeCall, "/fail", "CALL /fail")
			wantRoute(TypeCall, "/%65cho", "CALL /echo")
			wantRoute(TypeCall, "/none", "none")
			wantRoute(TypeCall, "", "none")
		}
		wantRoute(TypeCall, "/echo", "CALL /echo")
		HandlePush(w.server, "/echo", func(PushCtx, *string) error { return nil })
		wantRoute(TypePush, "/echo", "PUSH /echo") // the route that c remembers had none when it was found
		wantRoute(TypeCall, "/echo", "CALL /echo")
		c.in.UriObject().Path = "/fail"
		if h := c.lookup(); h == nil || h.Name() != "/fail" {
			t.Errorf("a hook has changed the path to /fail; the handler is %v", h)
		}
	})
}

// TestRoutesOfEachPeer calls two peers in turn whose routes have the same name: contexts that
// have served one serve the other.
func TestRoutesOfEachPeer(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		names := []string{"first", "second"}
		sessions := make([]*session, len(names))
		for i, name := range names {
			p := w.server
			if i > 0 {
				p = w.peer(nil)
				w.addr = w.listen(p)
			}
			HandleCall(p, "/who", func(CallCtx, *string) (string, error) { return name, nil })
			sessions[i] = w.dial()
		}
		for range 20 {
			for i, s := range sessions {
				var reply string
				if r := s.Call("/who", "", &reply).Rerror(); r != nil || reply != names[i] {
					t.Fatalf("the %s peer replied %q, %v", names[i], reply, r)
				}
			}
		}
	})
}
