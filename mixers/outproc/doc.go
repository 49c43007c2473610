// Package outproc runs parts of a program, such as transfer filters and codecs, in
// processes of their own: guests. A guest is a program that is shipped, started,
// watched, restarted and replaced apart from its host, and what it brings is used under
// the usual ids:
//
//	guest, err := outproc.Load(ctx, outproc.Guest{Path: "./md5guest"})
//	…
//	sess.Call("/math/add", arg, &sum, tp.WithXferPipe(xfer.MD5)) // md5 runs in the guest
//
// The guest's side is package guest:
//
//	func main() { guest.Serve(md5.Filter{}) }
//
// A failure of a guest never lets bytes pass as they are: the message fails, with
// [ErrGuestUnavailable] inside.
package outproc
