// Package multiclient calls and pushes to one address over several sessions, which are
// dialled as they are needed.
//
//	c := multiclient.New(peer, "files.example.com:9090", 4, 0)
//	defer c.Close()
//	rerr := c.Call("/file/read", name, &content).Rerror()
//
// # When
//
// For large messages. One session carries any number of small calls at once, and batches
// those of 100 callers into few writes, which several sessions do worse. But the bytes of
// a session travel one after the other: a body of megabytes holds up all that is behind
// it. README.md has figures; 4 sessions are enough.
//
// Messages of different sessions overtake each other, so pushes do not arrive in order.
package multiclient
