//go:build race

package jsonproto

const raceEnabled = true
