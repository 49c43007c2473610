package contract

import (
	"encoding/json"
	"errors"
	"fmt"
)

// MaxParts is how many parts a guest can have, and MaxDescription is the size of the largest
// description, in bytes.
const (
	MaxParts       = 256
	MaxDescription = 1 << 20
)

// maxName is the longest name of a guest or part, in bytes.
const maxName = 128

// ParseDescription reads a Description and checks what every kind has in common.
func ParseDescription(b []byte) (Description, error) {
	var d Description
	if len(b) > MaxDescription {
		return d, fmt.Errorf("its description has %d bytes, at most %d are allowed", len(b), MaxDescription)
	}
	if err := json.Unmarshal(b, &d); err != nil {
		return d, fmt.Errorf("its description is not the JSON that CONTRACT.md describes: %w", err)
	}
	if d.Contract != Version {
		return d, fmt.Errorf("it has version %d of the contract, this host has %d: build both with the same version of mixers/outproc", d.Contract, Version)
	}
	if err := checkName("its name", d.Name); err != nil {
		return d, err
	}
	if len(d.Parts) == 0 {
		return d, errors.New("its description has no parts")
	}
	if len(d.Parts) > MaxParts {
		return d, fmt.Errorf("its description has %d parts, at most %d are allowed", len(d.Parts), MaxParts)
	}
	if d.Bundle < 0 {
		return d, fmt.Errorf("its description has bundles of %d items: leave bundle out if it takes none", d.Bundle)
	}
	for i, p := range d.Parts {
		if p.Kind == "" {
			return d, fmt.Errorf("part %d of its description has no kind", i)
		}
		if err := checkName(fmt.Sprintf("the name of its part %d (%s)", i, p.Kind), p.Name); err != nil {
			return d, err
		}
		for _, other := range d.Parts[:i] {
			if other.Kind == p.Kind && other.Name == p.Name {
				return d, fmt.Errorf("two of its %ss have the name %s", p.Kind, p.Name)
			}
			if other.Kind == p.Kind && other.ID == p.ID && p.ID != 0 {
				return d, fmt.Errorf("its %ss %s and %s have the same id, %d", p.Kind, other.Name, p.Name, p.ID)
			}
		}
	}
	return d, nil
}

func checkName(what, name string) error {
	if name == "" {
		return fmt.Errorf("%s is empty", what)
	}
	if len(name) > maxName {
		return fmt.Errorf("%s has %d bytes, at most %d are allowed", what, len(name), maxName)
	}
	for _, c := range name {
		if c < ' ' || c == 0x7f {
			return fmt.Errorf("%s has a control character: %q", what, name)
		}
	}
	return nil
}
