package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

// measureAll runs the tables of the options and writes the result. When the context
// ends, it writes what it has and returns an error.
func measureAll(ctx context.Context, o options, out io.Writer, live *progress) (err error) {
	build(o.list)
	loadInfos(o.list)
	stop, err := startBusy(o.busy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	d := &document{Version: 1, Started: time.Now(), Machine: thisMachine(), Command: os.Args, Rounds: o.rounds, Window: o.window, Gate: o.gate, Busy: o.busy}
	working := slices.DeleteFunc(slices.Clone(o.list), func(c candidate) bool { return c.err != nil })

	measureTable := func(turns []turn, b *budget) {
		list, skipped := measure(ctx, turns, b, live)
		d.Windows, d.Skipped = append(d.Windows, list...), d.Skipped+skipped
	}
	calls := plan(working, o.configs, o.rounds)
	limit := time.Duration(0) // none
	if o.quick {
		limit = quickLimit
	}
	measureTable(calls, newBudget(o.window, limit))
	if o.idle > 0 {
		worth := slices.DeleteFunc(slices.Clone(working), func(c candidate) bool { return !hasIdleRow(c.name) })
		d.Idle = measureIdle(ctx, worth, o.idle, live)
	}
	measureTable(planSizes(working, o.sizes, min(o.rounds, 3)), newBudget(min(o.window, 400*time.Millisecond), 0))
	if o.slow {
		measureTable(planSlow(working, o.rounds), newBudget(o.window, 0))
	}
	live.close()
	d.Candidates = describe(o.list)
	d.Took = time.Since(d.Started)
	d.classify()

	var errs []error
	if o.jsonFile != "" {
		errs = append(errs, d.write(o.jsonFile))
	}
	if o.out != "" {
		dir := filepath.Join(o.out, d.folder())
		errs = append(errs, d.writeFolder(dir))
		live.print("the report is in %s", dir)
	} else {
		errs = append(errs, d.report(out))
	}
	if o.profile != "" && ctx.Err() == nil {
		once := slices.DeleteFunc(calls, func(t turn) bool { return t.round > 0 })
		errs = append(errs, writeProfiles(ctx, once, o.window, o.profile, live))
		live.close()
	}
	if ctx.Err() != nil {
		errs = append(errs, errors.New("interrupted"))
	}
	return errors.Join(errs...)
}

// loadInfos sets what the candidates' programs report about them.
func loadInfos(list []candidate) {
	known := map[string]harness.Info{}
	for _, c := range own() {
		known[c.Name] = harness.Info{Name: c.Name, Note: c.Note, Sized: c.DialSized != nil}
	}
	for i := range list {
		c := &list[i]
		if _, ok := known[c.name]; !ok && c.err == nil {
			for _, info := range c.infos() {
				known[info.Name] = info
			}
		}
		info, ok := known[c.name]
		if !ok && c.err == nil {
			c.err = fmt.Errorf("%s: its program has no such candidate", c.name)
		}
		c.note, c.sized = info.Note, info.Sized
	}
}

// infos returns what the candidate's program reports about all its candidates.
func (c candidate) infos() (list []harness.Info) {
	ch, err := c.start("list")
	if err != nil {
		return nil
	}
	defer time.AfterFunc(ch.timeout, func() { ch.cmd.Process.Kill() }).Stop()
	for line := range ch.lines {
		var info harness.Info
		if json.Unmarshal([]byte(line), &info) == nil {
			list = append(list, info)
		}
	}
	if ch.end() != nil {
		return nil
	}
	return list
}
