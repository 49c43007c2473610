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
	build(ctx, o.list)
	loadInfos(o.list)
	working := slices.DeleteFunc(slices.Clone(o.list), func(c candidate) bool { return c.err != nil })
	slowNames := []string{fastCandidate, slowCandidate}
	if o.builds != nil {
		slowNames = slowNames[1:] // each is compared with itself
	}
	calls := o.builds.pairs(plan(working, o.configs, o.rounds))
	sizes := o.builds.pairs(planSizes(working, o.sizes, min(o.rounds, 3)))
	var slow []turn
	if o.slow {
		slow = o.builds.pairs(planSlow(working, o.rounds, slowNames...))
	}
	var others []turn
	if o.streams {
		others = o.builds.pairs(planStreams(working, o.rounds))
	}
	if o.bulk {
		others = append(others, o.builds.pairs(planBulk(working, o.rounds))...)
	}
	if o.broadcast > 0 {
		others = append(others, o.builds.pairs(planBroadcast(working, o.broadcast, o.rounds))...)
	}
	var sessions []candidate
	if o.idle > 0 {
		sessions = o.builds.both(slices.DeleteFunc(slices.Clone(working), func(c candidate) bool { return c.noCalls || !hasIdleRow(c.name) }), 0)
	}
	if len(working) > 0 && len(calls)+len(sizes)+len(slow)+len(others)+len(sessions) == 0 {
		return errors.New("nothing to measure: no candidate has a row in the tables that are asked for")
	}

	stop, err := startBusy(o.busy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	d := &document{Version: 1, Started: time.Now(), Machine: thisMachine(), Command: os.Args, Rounds: o.rounds, Window: o.window, Gate: o.gate, Busy: o.busy}
	measureTable := func(turns []turn, b *budget) {
		list, skipped := measure(ctx, turns, b, live)
		d.Windows, d.Skipped = append(d.Windows, list...), d.Skipped+skipped
	}
	limit := time.Duration(0) // none
	if o.quick {
		limit = quickLimit
	}
	measureTable(calls, newBudget(o.window, limit))
	d.Idle = measureIdle(ctx, sessions, o.idle, live)
	measureTable(sizes, newBudget(min(o.window, 400*time.Millisecond), 0))
	measureTable(slow, newBudget(o.window, 0))
	measureTable(others, newBudget(o.window, 0))
	live.close()
	d.Candidates = describe(o.list)
	d.Took = time.Since(d.Started)
	d.classify()

	errs := []error{d.writeAll(o, out, live)}
	if o.profile != "" && ctx.Err() == nil {
		once := slices.DeleteFunc(slices.Concat(calls, others), func(t turn) bool { return t.round > 0 })
		errs = append(errs, writeProfiles(ctx, once, o.window, o.profile, live))
		live.close()
	}
	if ctx.Err() != nil {
		errs = append(errs, errors.New("interrupted"))
	}
	return errors.Join(errs...)
}

// writeAll writes the document to the outputs of the options.
func (d *document) writeAll(o options, out io.Writer, live *progress) (err error) {
	if o.builds != nil {
		d.Against = o.builds.commit
	}
	if o.jsonFile != "" {
		err = d.write(o.jsonFile)
	}
	switch {
	case o.builds != nil:
		return errors.Join(err, d.compare(out, o.floor))
	case o.out == "":
		return errors.Join(err, d.report(out))
	}
	dir := filepath.Join(o.out, d.folder())
	live.print("the report is in %s", dir)
	return errors.Join(err, d.writeFolder(dir))
}

// loadInfos sets what the candidates' programs report about them.
func loadInfos(list []candidate) {
	known := map[string]harness.Info{}
	for _, c := range own() {
		known[c.Name] = c.Info()
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
		c.note, c.sized, c.noCalls, c.also = info.Note, info.Sized, info.NoCalls, info.Also
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
