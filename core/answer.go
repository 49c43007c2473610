package tp

// Answer makes a hook answer a CALL in place of its handler: returned by PostReadCallHeader,
// PreReadCallBody or PostReadCallBody, it ends the row of hooks as an error does, but the
// caller gets the reply v, without an error. All else is as for a handler that has returned
// v: PreWriteReply and PostWriteReply, the access log, the counters and PostExchange, in
// order for an Ordered route. v is encoded by the codec of the request, unless the hook has
// set another for ctx.Output(); []byte is sent as it is. The hooks of the reader return
// before v is encoded, on another goroutine, so nobody may change it.
//
//	func (c *cache) PreReadCallBody(ctx tp.ReadCtx) *tp.Rerror {
//		if v, ok := c.load(ctx.Path(), ctx.Input().RawBody()); ok {
//			return tp.Answer(v)
//		}
//		return nil
//	}
//
// A handler may return it as well, for the same. Returned by any other hook it is an error
// 500 that says so.
func Answer(v any) *Rerror {
	return NewRerror(CodeInternalServerError, CodeText(CodeInternalServerError),
		"tp.Answer was returned where no CALL can be answered").WithCause(&answer{v})
}

// answer is the cause of what Answer returns.
type answer struct{ value any }

func (*answer) Error() string { return "tp.Answer" }

// answered returns the reply of a CALL that ends with r, if that is from Answer.
func answered(r *Rerror) (reply any, ok bool) {
	a, ok := r.Cause().(*answer)
	if !ok {
		return nil, false
	}
	return a.value, true
}

// isAnswered reports whether a hook has answered the CALL.
func (c *handlerCtx) isAnswered() bool {
	_, ok := answered(c.refusal)
	return ok
}
