package outproc

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// LockName is the name of the lock file next to the file that LoadAll reads.
const LockName = "teleport-guests.lock"

// locked is a guest in a lock file, which is JSON:
//
//	{
//	  "guests": [
//	    {
//	      "name": "md5guest",
//	      "version": "v1.0.0",
//	      "sha256": {
//	        "linux/amd64": "6f1c…"
//	      }
//	    }
//	  ]
//	}
//
// Guests are sorted by name, and hashes by platform, GOOS/GOARCH.
type locked struct {
	Name    string            `json:"name"`
	Version string            `json:"version"`
	SHA256  map[string]string `json:"sha256"`
}

type lockFile struct {
	Guests []locked `json:"guests"`
}

// maxConfigFile is the size of the largest lock file and list of guests, in bytes.
const maxConfigFile = 1 << 20

// readLock reads a lock file.
func readLock(file string) ([]locked, error) {
	text, err := readConfigFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the lock file: %w", err)
	}
	list, err := parseLock(text)
	if err != nil {
		return nil, fmt.Errorf("the lock file %s: %w", file, err)
	}
	return list, nil
}

// readConfigFile is os.ReadFile with a limit.
func readConfigFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err == nil && len(text) > maxConfigFile {
		err = fmt.Errorf("%s has more than %d bytes", name, maxConfigFile)
	}
	return text, err
}

func parseLock(text []byte) ([]locked, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var l lockFile
	if err := d.Decode(&l); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("there is text behind its JSON value")
	}
	seen := make(map[string]bool, len(l.Guests))
	for i, g := range l.Guests {
		switch {
		case g.Name == "":
			return nil, fmt.Errorf("guest %d has no name", i)
		case seen[g.Name]:
			return nil, fmt.Errorf("two guests have the name %s", g.Name)
		}
		seen[g.Name] = true
		for at, sum := range g.SHA256 {
			if b, err := hex.DecodeString(sum); err != nil || len(b) != 32 || strings.ToLower(sum) != sum {
				return nil, fmt.Errorf("guest %s: the SHA-256 %q for %s is not 64 hexadecimal digits in lower case", g.Name, sum, at)
			}
		}
	}
	return l.Guests, nil
}

// lockIndex returns the index of the guest with that name, -1 if there is none.
func lockIndex(list []locked, name string) int {
	return slices.IndexFunc(list, func(e locked) bool { return e.Name == name })
}

// Lock writes name, version and, for this platform, hash of the guests into a lock file,
// for [Guest.Lock]. What it has of other guests stays, and of these guests the hashes for
// other platforms, if the version is the same. The file need not exist. Guests with
// Connect are left out: they have no file here.
//
// Each guest's file is run, with the argument "describe".
func Lock(ctx context.Context, file string, guests ...Guest) error {
	return lock(ctx, file, guests, false)
}

// LockAll is Lock for the guests of a file that LoadAll reads, with the lock file next to
// it, which then has these guests alone.
func LockAll(ctx context.Context, file string) error {
	guests, err := ReadGuests(file)
	if err != nil {
		return err
	}
	return lock(ctx, lockBeside(file), guests, true)
}

// lockBeside returns the path of the lock file for a list of guests.
func lockBeside(file string) string { return filepath.Join(filepath.Dir(file), LockName) }

func lock(ctx context.Context, file string, guests []Guest, alone bool) error {
	old, err := readLock(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("outproc: %w; mend or remove it", err)
	}
	var list []locked
	if !alone {
		list = slices.Clone(old)
	}
	done := make(map[string]string) // file of each name
	for _, g := range guests {
		if g.Connect != "" {
			continue
		}
		g.Lock = "" // which is what is written
		d, err := Describe(ctx, g)
		if err != nil {
			return err
		}
		if other, ok := done[d.Name]; ok && other != d.SHA256 {
			return fmt.Errorf("outproc: lock %s: two files with different bytes are the guest %s: give one of them another name", g.Path, d.Name)
		}
		done[d.Name] = d.SHA256
		e := locked{Name: d.Name, Version: d.Version, SHA256: map[string]string{}}
		if i := lockIndex(old, d.Name); i >= 0 && old[i].Version == d.Version {
			for at, sum := range old[i].SHA256 {
				e.SHA256[at] = sum
			}
		}
		e.SHA256[platform] = d.SHA256
		if i := lockIndex(list, d.Name); i >= 0 {
			list[i] = e
		} else {
			list = append(list, e)
		}
	}
	if err := writeLock(file, list); err != nil {
		return fmt.Errorf("outproc: write the lock file: %w", err)
	}
	return nil
}

// writeLock replaces the file in one step.
func writeLock(file string, list []locked) error {
	slices.SortFunc(list, func(a, b locked) int { return cmp.Compare(a.Name, b.Name) })
	if list == nil {
		list = []locked{}
	}
	text, err := json.MarshalIndent(lockFile{list}, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), LockName+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // if it was not renamed
	_, err = f.Write(append(text, '\n'))
	if err == nil {
		err = f.Chmod(0o644)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	return err
}
