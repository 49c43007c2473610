package main

import (
	"slices"
	"strings"

	"github.com/teleport-go/teleport/tools/bench/internal/chart"
)

// median returns the median of values; for an even number the mean of the middle
// two, for none 0.
func median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return 0
	}
	values = slices.Sorted(slices.Values(values))
	return (values[(n-1)/2] + values[n/2]) / 2
}

// cell is the windows of one candidate in one configuration, in the order of rounds.
type cell []window

// cellKey is the place of a cell in the tables.
type cellKey struct {
	table, candidate, config string
	size                     int
}

func (w window) key() cellKey { return cellKey{w.Table, w.Candidate, w.Config, w.Size} }

// cells sorts windows into their cells.
func cells(list []window) map[cellKey]cell {
	m := map[cellKey]cell{}
	for _, w := range list {
		m[w.key()] = append(m[w.key()], w)
	}
	return m
}

// of returns the median of a figure over the windows that count; 0 if there are none.
func (c cell) of(figure func(window) float64) float64 {
	var values []float64
	for _, w := range c {
		if w.ok() {
			values = append(values, figure(w))
		}
	}
	return median(values)
}

func (c cell) rate() float64 { return c.of(window.rate) }

// failure returns why a cell has no figure.
func (c cell) failure() string {
	for _, w := range c {
		if w.Error != "" {
			return w.Error
		}
	}
	if len(c) > 0 {
		return "all windows dropped"
	}
	return "not measured"
}

// outcome returns a cell's rate, or why it has none.
func (c cell) outcome() string {
	if c.rate() == 0 {
		return c.failure()
	}
	return rateText(c.rate()) + " calls/s"
}

// over returns the median of the ratios to another cell; 0 if there are none.
func (c cell) over(base cell, figure func(window) float64, gate bool) float64 {
	return median(c.ratios(base, figure, gate))
}

// ratios returns the ratios of the windows of the same rounds; with gate only of
// those in the same phase.
func (c cell) ratios(base cell, figure func(window) float64, gate bool) (ratios []float64) {
	for _, w := range c {
		for _, b := range base {
			if b.Round == w.Round && w.ok() && b.ok() && (!gate || b.Phase.Name == w.Phase.Name) && figure(b) > 0 {
				ratios = append(ratios, figure(w)/figure(b))
			}
		}
	}
	return ratios
}

// kindOf returns whether a candidate is one of ours, a floor, or a peer.
func kindOf(candidate string) chart.Kind {
	switch {
	case strings.HasPrefix(candidate, "teleport"), strings.HasPrefix(candidate, "socket"):
		return chart.Ours
	case strings.HasPrefix(candidate, "floor"):
		return chart.Bounds
	}
	return chart.Other
}

// floorOf returns the floor of a configuration: with a goroutine a caller where
// callers share a connection, else with a goroutine a connection.
func floorOf(config string) string {
	if config[0] == 'b' || config[0] == 's' {
		return "floor-conn"
	}
	return "floor"
}

// bestPeer returns the fastest of the peers in a configuration; "" if there is none.
func (d *document) bestPeer(k cellKey) (best string) {
	most := 0.0
	for _, c := range d.Candidates {
		k.candidate = c.Name
		if rate := d.cells[k].rate(); kindOf(c.Name) == chart.Other && rate > most {
			best, most = c.Name, rate
		}
	}
	return best
}
