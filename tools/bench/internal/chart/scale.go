package chart

import "math"

// scale maps values to 0…1 of the plot's width.
type scale struct {
	low, high float64
	log       bool
}

func newScale(bars []Bar, log bool) scale {
	low, high := math.Inf(1), 0.0
	for _, b := range bars {
		low, high = min(low, b.Value), max(high, b.Value)
	}
	if !log {
		return scale{0, high, false}
	}
	// Leave room on the left, so that the least value has a visible length.
	return scale{below(low / 1.5), above(high), true}
}

func (s scale) at(v float64) float64 {
	if s.log {
		return math.Log(v/s.low) / math.Log(s.high/s.low)
	}
	return v / s.high
}

// ticks returns about five round values within the scale.
func (s scale) ticks() (list []float64) {
	if !s.log {
		step := above(s.high / 6)
		for i := 0; float64(i)*step <= s.high*1.0001; i++ {
			list = append(list, float64(i)*step)
		}
		return list
	}
	factors := []float64{1, 2, 5}
	if s.high/s.low > 60 {
		factors = []float64{1}
	}
	for e := math.Floor(math.Log10(s.low)); e <= math.Ceil(math.Log10(s.high)); e++ {
		for _, f := range factors {
			if v := f * math.Pow(10, e); v >= s.low*0.9999 && v <= s.high*1.0001 {
				list = append(list, v)
			}
		}
	}
	return list
}

// below and above return the next number to v in the series 1, 2, 5, 10 …; for a v
// in the series, v itself.
func below(v float64) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{5, 2, 1} {
		if f*decade <= v*1.0001 {
			return f * decade
		}
	}
	return decade / 2
}

func above(v float64) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 5} {
		if f*decade >= v*0.9999 {
			return f * decade
		}
	}
	return decade * 10
}
