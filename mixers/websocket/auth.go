package websocket

import (
	"context"
	"fmt"
	"maps"
	"net/http"

	tp "github.com/teleport-go/teleport/core"
)

// This file holds what may refuse a handshake: plugins and Options.Handshake.

// PreWebsocketHandshakePlugin is a global plugin of the peer that examines the requests of
// clients, before Options.Handshake. An error refuses the connection with the HTTP status
// 403, or 401 for that code. [Store] stores what the session needs.
type PreWebsocketHandshakePlugin interface {
	tp.Plugin
	PreHandshake(r *http.Request) *tp.Rerror
}

// valuesKey is the key of the values in the context of a request.
type valuesKey struct{}

// Store stores a value for the session that the request makes: it is in its Swap before the
// PostAccept hooks run. It is for PreHandshake and Handshake, whose requests it gets;
// elsewhere it does nothing.
func Store(r *http.Request, key, value any) {
	if values, ok := r.Context().Value(valuesKey{}).(map[any]any); ok {
		values[key] = value
	}
}

// authorise asks the plugins and Options.Handshake. It returns the values for the session.
func (o *Options) authorise(r *http.Request, peer tp.Peer) (values map[any]any, rerr *tp.Rerror) {
	plugins := peer.PluginContainer().GetAll()
	if o.Handshake == nil && len(plugins) == 0 {
		return nil, nil
	}
	values = make(map[any]any)
	r = r.WithContext(context.WithValue(r.Context(), valuesKey{}, values))
	for _, p := range plugins {
		if h, ok := p.(PreWebsocketHandshakePlugin); ok {
			if rerr := h.PreHandshake(r); rerr.HasError() {
				return nil, rerr
			}
		}
	}
	if o.Handshake != nil {
		more, rerr := o.Handshake(r)
		if rerr.HasError() {
			return nil, rerr
		}
		maps.Copy(values, more)
	}
	return values, nil
}

// Checker examines the request of a client, and returns the id of its session, "" to leave
// the usual one. An error refuses the connection.
type Checker func(r *http.Request) (sessionID string, rerr *tp.Rerror)

// Acceptor gets the session that a Checker has admitted, with its id, before anything is
// read from it: it may use its Swap and Close, but not call. An error closes the connection.
type Acceptor func(sess tp.Session) *tp.Rerror

// HandshakeAuthPlugin is a global plugin for servers: it admits clients by the request of
// their handshake. Either function may be nil.
type HandshakeAuthPlugin struct {
	CheckFunc  Checker
	AcceptFunc Acceptor
}

var (
	_ PreWebsocketHandshakePlugin = (*HandshakeAuthPlugin)(nil)
	_ tp.PostAcceptPlugin         = (*HandshakeAuthPlugin)(nil)
)

// NewHandshakeAuthPlugin returns the plugin.
func NewHandshakeAuthPlugin(checker Checker, acceptor Acceptor) *HandshakeAuthPlugin {
	return &HandshakeAuthPlugin{checker, acceptor}
}

// Name returns "handshake-auth-plugin".
func (p *HandshakeAuthPlugin) Name() string { return "handshake-auth-plugin" }

// idKey is the key of the id that a Checker has returned.
type idKey struct{}

// PreHandshake calls the Checker.
func (p *HandshakeAuthPlugin) PreHandshake(r *http.Request) *tp.Rerror {
	id, rerr := "", (*tp.Rerror)(nil)
	if p.CheckFunc != nil {
		id, rerr = p.CheckFunc(r)
	}
	if !rerr.HasError() {
		Store(r, idKey{}, id)
	}
	return rerr
}

// PostAccept sets the id of the session and calls the Acceptor. A connection that has made
// no handshake, of another network for example, is refused.
func (p *HandshakeAuthPlugin) PostAccept(sess tp.PreSession) *tp.Rerror {
	id, ok := sess.Swap().Load(idKey{})
	if !ok {
		return tp.NewRerror(tp.CodeUnauthorized, tp.CodeText(tp.CodeUnauthorized), "the connection is not of WebSocket")
	}
	sess.Swap().Delete(idKey{})
	if id != "" {
		sess.SetID(id.(string))
	}
	if p.AcceptFunc == nil {
		return nil
	}
	s, ok := sess.(tp.Session)
	if !ok {
		return tp.NewRerror(tp.CodeInternalServerError, tp.CodeText(tp.CodeInternalServerError), fmt.Sprintf("%T is no tp.Session", sess))
	}
	return p.AcceptFunc(s)
}

// QueryToken returns the value of a key in the query of the request's URL, "" if there is
// none.
func QueryToken(tokenKey string, r *http.Request) string { return r.URL.Query().Get(tokenKey) }
