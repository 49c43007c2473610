package wasm

import (
	"encoding/json"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// The kinds of parts.
const (
	KindFilter = "filter"
	KindCodec  = "codec"
)

// Part is a filter or a codec of a guest.
type Part struct {
	Kind string `json:"kind"` // KindFilter or KindCodec
	ID   byte   `json:"id"`
	Name string `json:"name"`

	index int
}

// String returns "filter md5 (id 109)".
func (p Part) String() string { return fmt.Sprintf("%s %s (id %d)", p.Kind, p.Name, p.ID) }

// description is what a guest says of itself.
type description struct {
	Name  string `json:"name"`
	Parts []Part `json:"parts"`
}

// Bounds of a description.
const (
	mostDescription = 64 << 10
	mostParts       = 255
	mostName        = 255
)

// parseDescription reads a description, which is foreign.
func parseDescription(b []byte) (d description, err error) {
	if len(b) > mostDescription {
		return d, fmt.Errorf("%d bytes, the limit is %d", len(b), mostDescription)
	}
	if err := json.Unmarshal(b, &d); err != nil {
		return d, fmt.Errorf("%.60q is not the JSON of one: %w", b, err)
	}
	if d.Name != "" {
		if err := checkName(d.Name); err != nil {
			return d, fmt.Errorf("name of the guest: %w", err)
		}
	}
	if len(d.Parts) == 0 || len(d.Parts) > mostParts {
		return d, fmt.Errorf("%d parts; a guest has 1 to %d", len(d.Parts), mostParts)
	}
	type identity struct {
		kind string
		id   byte
		name string
	}
	seen := map[identity]int{}
	for i := range d.Parts {
		p := &d.Parts[i]
		p.index = i
		if p.Kind != KindFilter && p.Kind != KindCodec {
			return d, fmt.Errorf("part %d is of the kind %.40q; %q and %q are known", i, p.Kind, KindFilter, KindCodec)
		}
		if p.ID == 0 {
			return d, fmt.Errorf("part %d, %s %.40q: the id 0 means none: choose one from 128 to 239", i, p.Kind, p.Name)
		}
		if err := checkName(p.Name); err != nil {
			return d, fmt.Errorf("part %d, %s with id %d: name: %w", i, p.Kind, p.ID, err)
		}
		for _, key := range []identity{{p.Kind, p.ID, ""}, {p.Kind, 0, p.Name}} {
			if other, ok := seen[key]; ok {
				return d, fmt.Errorf("parts %d and %d are both %s", other, i, p)
			}
			seen[key] = i
		}
	}
	return d, nil
}

// checkName says what is wrong with a name, which appears in logs and configurations.
func checkName(name string) error {
	if name == "" || len(name) > mostName {
		return fmt.Errorf("%d bytes; it has 1 to %d", len(name), mostName)
	}
	if !utf8.ValidString(name) {
		return fmt.Errorf("%.40q is not UTF-8", name)
	}
	for _, r := range name {
		if !unicode.IsGraphic(r) {
			return fmt.Errorf("%.40q has the character %U", name, r)
		}
	}
	return nil
}
