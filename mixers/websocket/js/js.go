// Package js holds teleport.js, the peer for browsers, so that a Go server can serve it to
// its pages:
//
//	http.Handle("/teleport/", http.StripPrefix("/teleport/", http.FileServerFS(js.FS)))
//
// A page then has
//
//	import { connect } from "/teleport/teleport.js";
package js

import "embed"

// FS has teleport.js, raw.js, pb.js and resume.js, the modules that they import, and their types. They
// are those of the npm package @teleport-go/websocket of the same version.
//
//go:embed *.js *.d.ts
var FS embed.FS
