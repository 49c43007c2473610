//go:build !race

package httproto

const raceOn = false
