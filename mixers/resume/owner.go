package resume

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
)

// This file holds how the owner of a stream crosses at a Reboot: what the handshake of its
// first connection has found out about the client; see Streams.Accept. In the new process
// that is compared, by ==, with what the next handshake finds out. So only a value crosses
// that is equal to itself afterwards; a stream that has another one stays.

// savedOwner is a key of an owner, and its value.
type savedOwner struct {
	Key   savedValue `json:"key"`
	Value savedValue `json:"value"`
}

// savedValue is a value of one of the ownerTypes.
type savedValue struct {
	Type string          `json:"type"`
	JSON json.RawMessage `json:"json"`
}

// ownerTypes are the types of values that cross: those whose name says all about them, so that
// two versions of a program have the same. A type of a package might be another one there.
var ownerTypes = make(map[string]reflect.Type)

func init() {
	for _, v := range []any{"", false, int(0), int8(0), int16(0), int32(0), int64(0), uint(0), uint8(0), uint16(0), uint32(0), uint64(0)} {
		t := reflect.TypeOf(v)
		ownerTypes[t.String()] = t
	}
}

func saveOwner(owner map[any]any) (list []savedOwner, err error) {
	for key, value := range owner {
		k, err := saveValue(key)
		v, err2 := saveValue(value)
		if err = cmp.Or(err, err2); err != nil {
			return nil, fmt.Errorf("resume: the handshake has stored a %T under a key of the type %T: %w", value, key, err)
		}
		list = append(list, savedOwner{k, v})
	}
	slices.SortFunc(list, func(a, b savedOwner) int { // a map has no order
		return cmp.Or(cmp.Compare(a.Key.Type, b.Key.Type), bytes.Compare(a.Key.JSON, b.Key.JSON))
	})
	return list, nil
}

var errOwner = fmt.Errorf("only strings in UTF-8, bools and integers can be compared in another process, and none of a type that a package defines: %w", errors.ErrUnsupported)

func saveValue(v any) (s savedValue, err error) {
	t := reflect.TypeOf(v)
	if t == nil || ownerTypes[t.String()] != t {
		return s, errOwner
	}
	s.Type = t.String()
	if s.JSON, err = json.Marshal(v); err != nil {
		return s, err
	}
	if again, err := s.parse(); err != nil || again != v { // a string may have any bytes
		return s, errOwner
	}
	return s, nil
}

func restoreOwner(list []savedOwner) (owner map[any]any, err error) {
	if len(list) == 0 {
		return nil, nil
	}
	owner = make(map[any]any, len(list))
	for _, s := range list {
		key, err := s.Key.parse()
		if err != nil {
			return nil, err
		}
		if owner[key], err = s.Value.parse(); err != nil {
			return nil, err
		}
	}
	if len(owner) < len(list) {
		return nil, errors.New("resume: the state of the stream: its owner has a key twice")
	}
	return owner, nil
}

func (s savedValue) parse() (any, error) {
	t := ownerTypes[s.Type]
	if t == nil {
		return nil, fmt.Errorf("resume: the state of the stream: its owner has a value of the type %.64q", s.Type)
	}
	p := reflect.New(t)
	if err := json.Unmarshal(s.JSON, p.Interface()); err != nil || string(s.JSON) == "null" {
		return nil, fmt.Errorf("resume: the state of the stream: its owner has the %s %.64q", s.Type, s.JSON)
	}
	return p.Elem().Interface(), nil
}
