// Package browsers tests mixers/websocket and its teleport.js with what its users use:
// Chromium, Firefox, Node, Deno, Bun, and the WebSocket libraries ws (npm) and websockets (Python).
// ci/browsers.sh runs it; see README.md.
package browsers
