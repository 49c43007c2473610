//go:build race

package httproto

// raceOn: the race detector empties pools at random.
const raceOn = true
