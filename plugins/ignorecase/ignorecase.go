// Package ignorecase finds routes regardless of the case of their letters.
//
// Before a message's route is looked up the plugin makes the letters of its path
// lower-case; the query stays as it is. So the routes it is for must be
// lower-case themselves, as those of tp.HTTPServiceMethodMapper are.
package ignorecase

import (
	"strings"
	"unicode/utf8"

	tp "github.com/teleport-go/teleport/core"
)

// NewIgnoreCase returns the plugin. Given to a peer it works for all routes, and
// the unknown handlers see paths in lower case. Given to a group or a handler it
// works for their routes alone, and all other paths keep their case.
// One plugin may be given to any number of peers.
func NewIgnoreCase() tp.Plugin { return ignoreCase{} }

type ignoreCase struct{}

var (
	_ tp.PostReadCallHeaderPlugin = ignoreCase{}
	_ tp.PostReadPushHeaderPlugin = ignoreCase{}
	_ tp.NonBlockingPlugin        = ignoreCase{}
)

// Name returns "ignoreCase".
func (ignoreCase) Name() string { return "ignoreCase" }

// NonBlocking promises that no hook blocks.
func (ignoreCase) NonBlocking() {}

// PostReadCallHeader reroutes a CALL.
func (ignoreCase) PostReadCallHeader(ctx tp.ReadCtx) *tp.Rerror { return lower(ctx) }

// PostReadPushHeader reroutes a PUSH.
func (ignoreCase) PostReadPushHeader(ctx tp.ReadCtx) *tp.Rerror { return lower(ctx) }

// lower uses the URI only if there is something to change: parsing it would cost
// every message an allocation. A path that is not UTF-8 has no case.
func lower(ctx tp.ReadCtx) *tp.Rerror {
	path := ctx.Path()
	if !utf8.ValidString(path) {
		return nil
	}
	if l := strings.ToLower(path); l != path {
		ctx.UriObject().Path = l
	}
	return nil
}
