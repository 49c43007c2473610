//go:build !race

package prototest

const raceEnabled = false
