package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// result is one window of one candidate in one configuration.
type result struct {
	Candidate, Config string
	Round             int
	Load              load
	Server            usage
	Error             string `json:",omitempty"`
}

func (r result) rate() float64 { return float64(r.Load.Calls) / r.Load.Elapsed.Seconds() }

// child is a process of this program, spoken to by lines.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func start(args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(self, args...)}
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	return c, c.cmd.Start()
}

// line reads the child's next line that is not of its log.
func (c *child) line() (string, error) {
	s, err := c.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("child ended: %w", err)
	}
	return strings.TrimSpace(s), nil
}

func (c *child) usage(command string) (u usage, err error) {
	if _, err := fmt.Fprintln(c.in, command); err != nil {
		return u, err
	}
	s, err := c.line()
	if err != nil {
		return u, err
	}
	return u, json.Unmarshal([]byte(s), &u)
}

func (c *child) end() error {
	c.in.Close()
	done := make(chan error, 1)
	go func() { done <- c.cmd.Wait() }()
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		c.cmd.Process.Kill()
		return errors.Join(errors.New("child did not end"), <-done)
	}
}

func measure(list []candidate, cfgs []config, rounds int, window time.Duration, jsonFile, profile string) error {
	var all []result
	steps := rounds * len(cfgs) * len(list)
	for round := range rounds {
		for _, cfg := range cfgs {
			for _, c := range list {
				fmt.Fprintf(os.Stderr, "\r%d/%d %-12s %-6s   ", len(all)+1, steps, c.name, cfg.name)
				r, err := oneWindow(c, cfg, window, profile)
				if err != nil {
					r.Error = err.Error()
					fmt.Fprintf(os.Stderr, "\n%s %s: %v\n", c.name, cfg.name, err)
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

func oneWindow(c candidate, cfg config, window time.Duration, profile string) (r result, err error) {
	r = result{Candidate: c.name, Config: cfg.name}
	serve := []string{"serve", "-peer", c.name}
	drive := []string{"load", "-peer", c.name, "-config", cfg.name, "-window", window.String()}
	if profile != "" {
		serve = append(serve, "-profile", filepath.Join(profile, c.name+"-"+cfg.name+"-server.prof"))
		drive = append(drive, "-profile", filepath.Join(profile, c.name+"-"+cfg.name+"-client.prof"))
	}
	srv, err := start(serve...)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, srv.end()) }()
	addr, err := srv.line()
	if err != nil {
		return r, err
	}
	cli, err := start(append(drive, "-addr", addr)...)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, cli.end()) }()
	if _, err := cli.line(); err != nil {
		return r, err
	}
	was, err := srv.usage("usage")
	if err != nil {
		return r, err
	}
	fmt.Fprintln(cli.in, "go")
	s, err := cli.line()
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal([]byte(s), &r.Load); err != nil {
		return r, err
	}
	now, err := srv.usage("usage")
	r.Server = now.since(was)
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

func table(w io.Writer, list []candidate, cfgs []config, all []result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "config\tcandidate\tcalls/s\t÷ floor\tp50\tp99\tmax\tCPU-µs/call\tallocs client\tserver\tMB server\t")
	for _, cfg := range cfgs {
		floors := map[int]float64{}
		for _, r := range all {
			if r.Config == cfg.name && r.Candidate == "floor" && r.Error == "" {
				floors[r.Round] = r.rate()
			}
		}
		for _, c := range list {
			var mine []result
			for _, r := range all {
				if r.Config == cfg.name && r.Candidate == c.name {
					mine = append(mine, r)
				}
			}
			per := func(f func(result) float64) float64 { return median(mine, f, compare[float64]) }
			dur := func(f func(result) time.Duration) time.Duration {
				return median(mine, f, compare[time.Duration]).Round(time.Microsecond)
			}
			fmt.Fprintf(t, "%s\t%s\t%.0f\t%.2f\t%v\t%v\t%v\t%.2f\t%.1f\t%.1f\t%.0f\t\n", cfg.name, c.name,
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
	srv, err := start("serve", "-peer", c.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.end()) }()
	addr, err := srv.line()
	if err != nil {
		return err
	}
	was, err := srv.usage("gc")
	if err != nil {
		return err
	}
	begin := time.Now()
	cli, err := start("load", "-peer", c.name, "-addr", addr, "-config", fmt.Sprintf("b%d", n), "-idle")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cli.end()) }()
	if _, err := cli.line(); err != nil {
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
