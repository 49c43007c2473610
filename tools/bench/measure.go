package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

// result is one window of one candidate in one configuration.
type result struct {
	Candidate, Config string
	Round             int
	Load              harness.Load
	Server            harness.Usage
	Error             string `json:",omitempty"`
}

func (r result) rate() float64 { return float64(r.Load.Calls) / r.Load.Elapsed.Seconds() }

func measure(list []candidate, cfgs []harness.Config, rounds int, window time.Duration, jsonFile, profile string) error {
	var all []result
	steps := rounds * len(cfgs) * len(list)
	for round := range rounds {
		for _, cfg := range cfgs {
			for _, c := range list {
				fmt.Fprintf(os.Stderr, "\r%d/%d %-12s %-6s   ", len(all)+1, steps, c.name, cfg.Name)
				r, err := oneWindow(c, cfg, window, profile)
				if err != nil {
					r.Error = err.Error()
					fmt.Fprintf(os.Stderr, "\n%s %s: %v\n", c.name, cfg.Name, err)
				}
				r.Round = round
				all = append(all, r)
			}
		}
	}
	fmt.Fprintln(os.Stderr)
	if jsonFile != "" {
		b, err := json.MarshalIndent(all, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(jsonFile, b, 0o644); err != nil {
			return err
		}
	}
	return table(os.Stdout, list, cfgs, all)
}

func oneWindow(c candidate, cfg harness.Config, window time.Duration, profile string) (r result, err error) {
	r = result{Candidate: c.name, Config: cfg.Name}
	serve := []string{"-conns", strconv.Itoa(cfg.Conns)}
	drive := []string{"-config", cfg.Name, "-window", window.String()}
	if profile != "" {
		serve = append(serve, "-profile", filepath.Join(profile, c.name+"-"+cfg.Name+"-server.prof"))
		drive = append(drive, "-profile", filepath.Join(profile, c.name+"-"+cfg.Name+"-client.prof"))
	}
	srv, err := c.start("serve", serve...)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, srv.end()) }()
	var addr string
	var ready harness.Ready
	if err := srv.tell(&addr, 0); err != nil {
		return r, err
	}
	cli, err := c.start("load", append(drive, "-addr", addr)...)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, cli.end()) }()
	if err := cli.tell(&ready, window); err != nil {
		return r, err
	}
	was, err := srv.usage("usage")
	if err != nil {
		return r, err
	}
	if err := cli.say("go"); err != nil {
		return r, err
	}
	if err := cli.tell(&r.Load, window); err != nil {
		return r, err
	}
	now, err := srv.usage("usage")
	r.Server = now.Since(was)
	return r, err
}

func median[T any](list []result, f func(result) T, cmp func(a, b T) int) (m T) {
	var values []T
	for _, r := range list {
		if r.Error == "" && r.Load.Calls > 0 {
			values = append(values, f(r))
		}
	}
	if len(values) == 0 {
		return m
	}
	slices.SortFunc(values, cmp)
	return values[len(values)/2]
}

func compare[T float64 | time.Duration](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func table(w io.Writer, list []candidate, cfgs []harness.Config, all []result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "config\tcandidate\tcalls/s\t÷ floor\tp50\tp99\tmax\tCPU-µs/call\tallocs client\tserver\tMB server\t")
	for _, cfg := range cfgs {
		floors := map[int]float64{}
		for _, r := range all {
			if r.Config == cfg.Name && r.Candidate == "floor" && r.Error == "" {
				floors[r.Round] = r.rate()
			}
		}
		for _, c := range list {
			var mine []result
			for _, r := range all {
				if r.Config == cfg.Name && r.Candidate == c.name {
					mine = append(mine, r)
				}
			}
			per := func(f func(result) float64) float64 { return median(mine, f, compare[float64]) }
			dur := func(f func(result) time.Duration) time.Duration {
				return median(mine, f, compare[time.Duration]).Round(time.Microsecond)
			}
			fmt.Fprintf(t, "%s\t%s\t%.0f\t%.2f\t%v\t%v\t%v\t%.2f\t%.1f\t%.1f\t%.0f\t\n", cfg.Name, c.name,
				per(result.rate),
				per(func(r result) float64 {
					if floors[r.Round] == 0 {
						return 0
					}
					return r.rate() / floors[r.Round]
				}),
				dur(func(r result) time.Duration { return r.Load.P50 }),
				dur(func(r result) time.Duration { return r.Load.P99 }),
				dur(func(r result) time.Duration { return r.Load.Max }),
				per(func(r result) float64 {
					return (r.Load.Usage.CPU + r.Server.CPU).Seconds() * 1e6 / float64(r.Load.Calls)
				}),
				per(func(r result) float64 { return float64(r.Load.Usage.Allocs) / float64(r.Load.Calls) }),
				per(func(r result) float64 { return float64(r.Server.Allocs) / float64(r.Load.Calls) }),
				per(func(r result) float64 { return float64(r.Server.RSS) / 1e6 }),
			)
		}
	}
	return t.Flush()
}

// measureIdle prints what an idle session costs the server.
func measureIdle(list []candidate, n int) error {
	for _, c := range list {
		if err := idleSessions(c, n); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

func idleSessions(c candidate, n int) (err error) {
	srv, err := c.start("serve", "-conns", strconv.Itoa(n))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.end()) }()
	var addr string
	var ready harness.Ready
	if err := srv.tell(&addr, 0); err != nil {
		return err
	}
	was, err := srv.usage("gc")
	if err != nil {
		return err
	}
	begin := time.Now()
	cli, err := c.start("load", "-addr", addr, "-config", fmt.Sprintf("b%d", n), "-idle")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cli.end()) }()
	if err := cli.tell(&ready, 0); err != nil {
		return err
	}
	took := time.Since(begin)
	now, err := srv.usage("gc")
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d idle sessions, %.2f KiB of server RSS each, %.0f connections (with a call each) set up per second\n",
		c.name, n, float64(int64(now.RSS)-int64(was.RSS))/1024/float64(n), float64(n)/took.Seconds())
	return nil
}
