//go:build !race

package bufpool

const allocsAllowed = 0.0
