package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/mixers/outproc"
)

type benchCmd struct {
	guestFile `embed:""`
	Connect   string        `placeholder:"ADDRESS" help:"Measure a guest that runs already, too: unix:///path."`
	Token     string        `help:"The token of that guest."`
	Duration  time.Duration `default:"1s" help:"How long each part is measured, serially and with callers."`
	Callers   int           `default:"64" help:"How many goroutines send items at once."`
	Size      int           `default:"600" help:"Bytes of an item of a filter, and of the text in an item of a codec."`
}

// Run loads one guest after the other, since two may have the same parts.
func (c *benchCmd) Run(ctx context.Context) error {
	if c.Callers < 1 || c.Duration <= 0 || c.Size < 0 {
		return fmt.Errorf("teleport: guests bench: --callers and --duration must be above 0, and --size not below it, not %d, %v and %d", c.Callers, c.Duration, c.Size)
	}
	guests, err := c.guests()
	if err != nil {
		return err
	}
	if c.Connect != "" {
		guests = append(guests, outproc.Guest{Connect: c.Connect, Token: c.Token})
	}
	t := table(os.Stdout)
	fmt.Fprintf(t, "FROM\tWAY\tPART\tSERIALLY\t%d CALLERS\tITEMS/S\n", c.Callers)
	var errs []error
	for _, g := range guests {
		if err := c.guest(ctx, t, g); err != nil {
			errs = append(errs, err)
		}
	}
	t.Flush()
	return errors.Join(errs...)
}

// guest measures the parts of one guest.
func (c *benchCmd) guest(ctx context.Context, t io.Writer, g outproc.Guest) error {
	h, err := loadGuest(ctx, g)
	if err != nil {
		return err
	}
	defer h.Close()
	way := "spawn"
	if g.Connect != "" {
		way = "connect"
	}
	for _, p := range h.Parts() {
		once, err := c.item(p)
		if err != nil {
			return fmt.Errorf("teleport: guests bench: %s: %w", p.Name, err)
		}
		if once == nil {
			fmt.Fprintf(t, "%s\t%s\t%s\tit has no items\t\t\n", where(g), way, parts([]outproc.Part{p}))
			continue
		}
		one, err := measure(ctx, c.Duration, 1, once)
		var many float64
		if err == nil {
			many, err = measure(ctx, c.Duration, c.Callers, once)
		}
		if err != nil {
			return fmt.Errorf("teleport: guests bench: %s of %s: %w", p.Name, where(g), err)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%.1f µs\t%.1f µs\t%.0f\n", where(g), way, parts([]outproc.Part{p}), 1e6/one, 1e6/many, many)
	}
	return nil
}

// item returns a function that sends one item to the part: bytes to pack, or a value to
// marshal. It is nil for a kind that has no items.
func (c *benchCmd) item(p outproc.Part) (func() error, error) {
	text := bytes.Repeat([]byte("teleport"), c.Size/8+1)[:c.Size]
	switch p.Kind {
	case "filter":
		f, err := xfer.Get(p.ID)
		return func() error { _, err := f.OnPack(text); return err }, err
	case "codec":
		cc, err := codec.Get(p.ID)
		value := map[string]any{"text": string(text), "count": 3}
		return func() error { _, err := cc.Marshal(value); return err }, err
	}
	return nil, nil
}

// measure has callers call once for a while, and returns how often a second it did.
func measure(ctx context.Context, d time.Duration, callers int, once func() error) (float64, error) {
	var done atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, callers)
	start := time.Now()
	for i := range callers {
		wg.Go(func() {
			for errs[i] == nil && (time.Since(start) < d || done.Load() == 0) {
				if errs[i] = once(); errs[i] == nil {
					done.Add(1)
					errs[i] = context.Cause(ctx)
				}
			}
		})
	}
	wg.Wait()
	return float64(done.Load()) / time.Since(start).Seconds(), errors.Join(errs...)
}
