package guest

import (
	"bytes"
	"errors"
	"slices"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// bundleItems is how many items this package takes in a bundle. With more of them fewer
// processors would have work.
const bundleItems = 16

// bundleTime is how long the items of a bundle may take in turn. Those that have not begun
// by then the host sends by themselves, and they run at the same time.
var bundleTime = 250 * time.Microsecond // changed by tests alone

// bundle answers the items of a bundle in turn. What it leaves without a result the host
// sends by itself: an item that its part refuses or that panics, so that errors have one way
// only, and those that there is no room or time for.
func (s *server) bundle(_ tp.CallCtx, arg, reply *[]byte) error {
	room := contract.MaxBundleBytes
	if most := s.maxItem.Load(); most > 0 {
		room = int(min(most, int64(room)))
	}
	n := len(*arg)
	*arg = slices.Grow(*arg, n+n/8+256) // the results lie behind the items
	body, out := (*arg)[:n:n], (*arg)[n:n]
	begun := time.Now()
	for i, over := 0, false; len(body) > 0; i++ {
		route, item, rest, err := contract.CutBundled(body)
		if err != nil {
			return refused(err)
		}
		body = rest
		at := len(out)
		if !over {
			out, err = s.bundled(contract.BeginResult(out), route, item, room)
		}
		if over || err != nil || len(out) > room {
			over = over || err == nil
			out = contract.AppendUnanswered(out[:at])
		} else {
			contract.EndResult(out, at)
		}
		if i%4 == 0 && time.Since(begun) > bundleTime {
			over = true
		}
	}
	*reply = out
	return nil
}

// bundled appends the result of an item to dst. A panic is an error, whose text the host gets
// when the item comes by itself.
func (s *server) bundled(dst, route, item []byte, room int) (out []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			out, err = dst, errNoResult
		}
	}()
	path, query, _ := bytes.Cut(route, []byte("?"))
	max, err := queryMax(string(query))
	if err != nil {
		return dst, err
	}
	f := s.translations[string(path)]
	if f == nil && s.chain != nil {
		f = s.chain(string(path))
	}
	if f == nil {
		return dst, errNoResult
	}
	out, err = f(dst, item, min(max, room))
	if err == nil && len(out) < len(dst) {
		err = errNoResult // what the part has returned was not appended to dst
	}
	return out, err
}

var errNoResult = errors.New("no result")
