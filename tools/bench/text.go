package main

import (
	"cmp"
	"fmt"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

func orDash(s string) string { return cmp.Or(s, "–") }

// rateText formats a number of calls with three digits.
func rateText(v float64) string {
	switch {
	case v <= 0:
		return "–"
	case v >= 999.5e3:
		return fmt.Sprintf("%.2fM", v/1e6)
	case v >= 99.95e3:
		return fmt.Sprintf("%.0fk", v/1e3)
	case v >= 9.995e3:
		return fmt.Sprintf("%.1fk", v/1e3)
	case v >= 999.5:
		return fmt.Sprintf("%.2fk", v/1e3)
	}
	return fmt.Sprintf("%.0f", v)
}

func ratioText(v float64) string {
	if v <= 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", v)
}

func kibText(n int64) string { return fmt.Sprintf("%.2f", float64(n)/1024) }

// preciseText formats a ratio of a comparison.
func preciseText(v float64) string { return fmt.Sprintf("%.3f", v) }

// durationText formats nanoseconds with three digits.
func durationText(ns float64) string {
	switch {
	case ns <= 0:
		return "–"
	case ns < 999.5:
		return fmt.Sprintf("%.0f ns", ns)
	case ns < 999.5e3:
		return fmt.Sprintf("%.3g µs", ns/1e3)
	case ns < 999.5e6:
		return fmt.Sprintf("%.3g ms", ns/1e6)
	}
	return fmt.Sprintf("%.3g s", ns/1e9)
}

// configText describes a configuration.
func configText(name string) string {
	cfg, err := harness.ParseConfig(name)
	if err != nil {
		return name
	}
	callers := fmt.Sprintf("%d callers", cfg.Callers)
	if cfg.Callers == 1 {
		callers = "1 caller"
	}
	switch name[0] {
	case harness.OneWay, harness.PingPong:
		return fmt.Sprintf("%s: one connection, %d streams", name, cfg.Callers)
	case harness.Bulk:
		return fmt.Sprintf("%s: one connection, %s beside a bulk stream", name, callers)
	case harness.Group:
		return fmt.Sprintf("%s: a group of %d connections", name, cfg.Conns)
	case 's':
		return fmt.Sprintf("%s: sockets alone, %d connections", name, cfg.Conns)
	case 'b':
		return fmt.Sprintf("%s: %d connections with a caller each", name, cfg.Conns)
	case 'c':
		return fmt.Sprintf("%s: %d connections, %s", name, cfg.Conns, callers)
	}
	return fmt.Sprintf("%s: one connection, %s", name, callers)
}
