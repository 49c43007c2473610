package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/teleport-go/teleport/mixers/outproc"
)

type guestsCmd struct {
	List     listCmd     `cmd:"" help:"Print the guests of a list: name, version, parts, whether the lock file has them."`
	Describe describeCmd `cmd:"" help:"Print what a guest says of itself, as JSON."`
	Lock     lockCmd     `cmd:"" help:"Write name, version and hash of the guests into teleport-guests.lock."`
	Check    checkCmd    `cmd:"" help:"Load the guests as a host does, all at once, and close them."`
	Bench    benchCmd    `cmd:"" help:"Measure what an item of the guests' filters and codecs costs."`
}

// guestFile is a list of guests, or one guest.
type guestFile struct {
	File string   `arg:"" help:"A list of guests (.yaml, .yml), as outproc.LoadAll reads it, or the program of one guest."`
	Args []string `arg:"" optional:"" help:"Arguments of the program."`
	Env  []string `placeholder:"NAME=VALUE" sep:"none" help:"A variable of the program's environment; NAME alone for that of this command."`
}

func isList(file string) bool {
	ext := filepath.Ext(file)
	return ext == ".yaml" || ext == ".yml"
}

// guests returns the guests of the file.
func (f *guestFile) guests() ([]outproc.Guest, error) {
	if !isList(f.File) {
		g := f.guest()
		return []outproc.Guest{g}, nil
	}
	if len(f.Args)+len(f.Env) > 0 {
		return nil, fmt.Errorf("teleport: guests: arguments and --env are for a program; those of the guests of %s are in it", f.File)
	}
	return outproc.ReadGuests(f.File)
}

// guest is the guest of a program.
func (f *guestFile) guest() outproc.Guest {
	return outproc.Guest{Path: f.File, Args: f.Args, Env: f.Env}
}

// where is what the guest is found by.
func where(g outproc.Guest) string {
	if g.Connect != "" {
		return g.Connect
	}
	return g.Path
}

func table(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

func parts(list []outproc.Part) string {
	var words []string
	for _, p := range list {
		word := p.Kind + " " + p.Name
		if p.ID != 0 {
			word += fmt.Sprintf(" (%d)", p.ID)
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

type listCmd struct {
	guestFile `embed:""`
}

// Run describes the guests, without loading them.
func (c *listCmd) Run(ctx context.Context) error {
	guests, err := c.guests()
	if err != nil {
		return err
	}
	t := table(os.Stdout)
	fmt.Fprintln(t, "GUEST\tVERSION\tLOCKED\tPARTS\tFROM")
	var errs []error
	for _, g := range guests {
		if g.Connect != "" {
			fmt.Fprintf(t, "%s\t?\t-\tit runs by itself: see check\t%s\n", orUnknown(g.Name), g.Connect)
			continue
		}
		d, err := outproc.Describe(ctx, g)
		if err != nil {
			errs = append(errs, err)
			fmt.Fprintf(t, "%s\t?\t?\tcannot be described\t%s\n", orUnknown(g.Name), g.Path)
			continue
		}
		locked := "no"
		if g.Lock != "" {
			locked = "yes" // else it would not have been run
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", d.Name, d.Version, locked, parts(d.Parts), g.Path)
	}
	t.Flush()
	return errors.Join(errs...)
}

func orUnknown(name string) string {
	if name == "" {
		return "?"
	}
	return name
}

type describeCmd struct {
	guestFile `embed:""`
}

// Run prints an object for a program, and one a line for a list.
func (c *describeCmd) Run(ctx context.Context) error {
	guests, err := c.guests()
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if !isList(c.File) {
		out.SetIndent("", "  ")
	}
	var errs []error
	for _, g := range guests {
		d, err := outproc.Describe(ctx, g)
		if err == nil {
			err = out.Encode(d)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

type lockCmd struct {
	guestFile `embed:""`
	Lock      string `placeholder:"FILE" help:"The lock file for a program; that of a list is next to it. Default: teleport-guests.lock."`
}

// Run writes the lock file.
func (c *lockCmd) Run(ctx context.Context) error {
	file := c.Lock
	switch {
	case !isList(c.File):
		if file == "" {
			file = outproc.LockName
		}
		if err := outproc.Lock(ctx, file, c.guest()); err != nil {
			return err
		}
	case file != "" || len(c.Args)+len(c.Env) > 0:
		return fmt.Errorf("teleport: guests lock: --lock, --env and arguments are for a program; the lock file of %s is next to it", c.File)
	default:
		file = filepath.Join(filepath.Dir(c.File), outproc.LockName)
		if err := outproc.LockAll(ctx, c.File); err != nil {
			return err
		}
	}
	fmt.Println("wrote", file)
	return nil
}

type checkCmd struct {
	guestFile `embed:""`
}

// Run loads the guests and keeps them until all are loaded, so that places that two of
// them want are found.
func (c *checkCmd) Run(ctx context.Context) error {
	guests, err := c.guests()
	if err != nil {
		return err
	}
	failed, missing := 0, 0
	for _, g := range guests {
		optional := g.Optional
		start := time.Now()
		h, err := loadGuest(ctx, g)
		switch {
		case err == nil:
			defer h.Close()
			fmt.Printf("ok       %s: %s, ready after %v\n", where(g), parts(h.Parts()), time.Since(start).Round(time.Millisecond))
		case optional:
			missing++
			fmt.Printf("missing  %v (it is optional)\n", err)
		default:
			failed++
			fmt.Printf("FAILED   %v\n", err)
		}
	}
	if failed > 0 {
		return fmt.Errorf("teleport: guests check: %d of %d guests cannot be loaded", failed, len(guests))
	}
	what := "guests"
	if len(guests) == 1 {
		what = "guest"
	}
	fmt.Printf("%d %s, %d missing\n", len(guests), what, missing)
	return nil
}

// loadGuest loads a guest whose log is of no use here.
func loadGuest(ctx context.Context, g outproc.Guest) (*outproc.Handle, error) {
	g.Optional = false // so that its error is known
	g.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return outproc.Load(ctx, g)
}
