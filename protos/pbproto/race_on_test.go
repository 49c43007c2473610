//go:build race

package pbproto

const raceEnabled = true
