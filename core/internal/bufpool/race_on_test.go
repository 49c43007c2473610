//go:build race

package bufpool

// The race detector makes sync.Pool drop some of what it is given: each of the
// two buffers and headers may have to be made.
const allocsAllowed = 4.0
