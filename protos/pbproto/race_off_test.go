//go:build !race

package pbproto

const raceEnabled = false
