//go:build race

package xfer

// The race detector makes sync.Pool drop a quarter of what it is given.
const allocsAllowed = 8.0
