package codec

import (
	"errors"
	"fmt"
	"math"
	"testing"
)

func TestLimits(t *testing.T) {
	defer SetLimits(CurrentLimits())
	standard := Limits{1000, 64 << 20, 16}
	for _, test := range []struct{ set, want Limits }{
		{Limits{}, standard},
		{Limits{Depth: 7}, Limits{7, standard.Memory, standard.Factor}},
		{Limits{Memory: 7}, Limits{standard.Depth, 7, standard.Factor}},
		{Limits{-1, -1, -1}, Limits{math.MaxInt, math.MaxInt, math.MaxInt}},
	} {
		SetLimits(test.set)
		if got := CurrentLimits(); got != test.want {
			t.Errorf("SetLimits(%+v) sets %+v; want %+v", test.set, got, test.want)
		}
		SetLimits(CurrentLimits())
		if got := CurrentLimits(); got != test.want {
			t.Errorf("%+v, set again, are %+v", test.want, got)
		}
	}
}

func TestLimitError(t *testing.T) {
	err := fmt.Errorf("test codec: %w", &LimitError{What: "levels of nesting", Limit: 10, Found: 11})
	if want := "test codec: too complex: 11 levels of nesting or more, the limit is 10"; err.Error() != want || !errors.Is(err, ErrTooComplex) {
		t.Errorf("error %q, ErrTooComplex: %t; want %q", err, errors.Is(err, ErrTooComplex), want)
	}
}
