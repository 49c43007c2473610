package throttle

import (
	"testing"
	"time"
)

func TestPass(t *testing.T) {
	const second = int64(time.Second)
	var th Throttle
	for i, step := range []struct {
		now, limit, held int64
		ok               bool
	}{
		{5, 2, 0, true},
		{6, 2, 0, true},
		{7, 2, 0, false},
		{second, 2, 0, false},
		{second + 5, 2, 2, true}, // a new second: two were held back
		{second + 6, 2, 0, true},
		{second + 7, 1, 0, false},
		{4, 2, 1, true}, // the clock was set back
	} {
		if held, ok := th.Pass(step.now, step.limit); held != step.held || ok != step.ok {
			t.Errorf("step %d: Pass(%d, %d) = %d, %v; want %d, %v", i, step.now, step.limit, held, ok, step.held, step.ok)
		}
	}
}
