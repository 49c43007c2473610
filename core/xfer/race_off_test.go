//go:build !race

package xfer

const allocsAllowed = 0.0
