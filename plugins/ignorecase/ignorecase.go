// Package ignorecase makes routes be found whatever the case of their letters.
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

// NewIgnoreCase returns the plugin. Given to a peer it is for all routes, and
// what has no route arrives at the unknown handlers in lower case. Given to a
// group or a handler it is for their routes alone, and all else keeps its case.
// One plugin may be given to any number of peers.
func NewIgnoreCase() tp.Plugin { return ignoreCase{} }

type ignoreCase struct{}

var (
	_ tp.PostReadCallHeaderPlugin = ignoreCase{}
	_ tp.PostReadPushHeaderPlugin = ignoreCase{}
	_ tp.PromptPlugin             = ignoreCase{}
)

// Name returns "ignoreCase".
func (ignoreCase) Name() string { return "ignoreCase" }

// Prompt promises that no hook waits.
func (ignoreCase) Prompt() {}

// PostReadCallHeader reroutes a CALL.
func (ignoreCase) PostReadCallHeader(ctx tp.ReadCtx) *tp.Rerror { return lower(ctx) }

// PostReadPushHeader reroutes a PUSH.
func (ignoreCase) PostReadPushHeader(ctx tp.ReadCtx) *tp.Rerror { return lower(ctx) }

// lower touches the URI only where there is something to change: parsing it
// would cost every message an allocation. What is not text has no case.
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
