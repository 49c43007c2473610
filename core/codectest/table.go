package codectest

import (
	"math"
	"math/big"
	"time"
)

// The structs of the table.
type (
	Base struct{ ID int }
	Link struct {
		Name string
		Next *Link
	}
	embeds struct {
		Base
		Title string
	}
	embedsPointer struct {
		*Base
		Title string
	}
	nested struct {
		Inner Base
		Note  string
	}
)

func pointer[T any](v T) *T { return &v }

// both returns a value as the whole body and as a field.
func both[T any](name string, v T) []value {
	return []value{{"alone/" + name, v}, field(name, v)}
}

func field[T any](name string, v T) value { return value{"field/" + name, Field[T]{v}} }

// values returns what some codec carries.
func values() []value {
	huge := new(big.Int).Lsh(big.NewInt(-3), 100)
	zone := time.FixedZone("", -(3*60+30)*60)
	at := time.Date(2024, 2, 29, 23, 59, 58, 123456789, time.UTC)
	deep := map[string]any{
		"text": "a", "yes": true, "none": nil, "ratio": 0.5, "n": -7,
		"list": []any{1, "b", []any{}, map[string]any{"k": map[string]any{"deeper": []any{nil}}}},
	}
	list := []value{{"alone/nil", nil}}
	for _, more := range [][]value{
		both("text", "é 世界 <&> \" \\ \u2028"),
		both("empty text", ""),
		both("text that is not UTF-8", "a\xffb"),
		both("text with U+FFFD", "a\ufffdb \\ufffd"),
		both("text with lines", "a\r\nb\tc\n"),
		both("text with control characters", "\x00\v\x1f"),
		both("bool", true),
		both("int64 min", int64(math.MinInt64)),
		both("uint64 max", uint64(math.MaxUint64)),
		both("float64 max", math.MaxFloat64),
		both("float64 min", math.SmallestNonzeroFloat64),
		both("float32", float32(0.1)),
		both("float NaN", math.NaN()),
		both("float Inf", math.Inf(-1)),
		both("complex", 1+2i),
		both("duration", 90*time.Minute+time.Nanosecond),
		both("time in UTC", at),
		both("time in a zone", at.In(zone)),
		both("time of whole seconds", at.Truncate(time.Second)),
		both("time zero", time.Time{}),
		both("time of the year 10000", time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)),
		both("pointer to a time", &at),
		both("pointer to time zero", new(time.Time)),
		both("times", []time.Time{at, at.In(zone)}),
		both("big int", huge),
		both("big int by value", *huge),
		both("big int, small", big.NewInt(7)),
		both("word", &word{"w"}),
		both("word by value", word{"w"}),
		both("map of words by value", map[string]word{"k": {"w"}}),
		both("bytes", []byte("\x00a\xff")),
		both("empty bytes", []byte{}),
		both("nil bytes", []byte(nil)),
		both("array of bytes", [3]byte{0, 1, 255}),
		both("list", []int{3, 1, 2}),
		both("list of one", []int{3}),
		both("empty list", []int{}),
		both("nil list", []int(nil)),
		both("array", [3]int{3, 1, 2}),
		both("texts", []string{"", "a", ""}),
		both("list of lists", [][]int{{1}, {}, {2, 3}}),
		both("map", map[string]int{"b": 1, "a": 2, "": 3}),
		both("empty map", map[string]int{}),
		both("nil map", map[string]int(nil)),
		both("map by numbers", map[int]string{-1: "a", 2: "b"}),
		both("map with a nil", map[string]*int{"a": nil}),
		both("map with an empty list", map[string][]string{"a": {}, "b": {"1", ""}}),
		both("pointers with a nil", []*int{nil, pointer(1), nil}),
		both("pointers to texts with a nil", []*string{pointer(""), nil}),
		both("pointer to pointer", pointer(pointer(7))),
		both("any text", any("text")),
		both("structs", []Base{{1}, {2}}),
		both("struct", nested{Base{1}, "b"}),
		both("embedded struct", embeds{Base{7}, "t"}),
		both("embedded pointer", embedsPointer{&Base{7}, "t"}),
		both("embedded pointer that is nil", embedsPointer{nil, "t"}),
		both("linked structs", &Link{"a", &Link{"b", nil}}),
	} {
		list = append(list, more...)
	}
	return append(list,
		field("nil pointer", (*int)(nil)),
		field("nil pointer to a struct", (*Base)(nil)),
		field("nil any", any(nil)),
		field("pointer to 0", pointer(0)),
		field("pointer to an empty text", pointer("")),
		field("any number", any(0.5)),
		field("any uint64", any(uint64(math.MaxUint64))),
		field("any int64", any(int64(math.MinInt64+1))),
		field("any list", any([]any{1, 2.5, "c", nil, false})),
		field("any list, empty", any([]any{})),
		field("any map, empty", any(map[string]any{})),
		field("any, nested", any(deep)),
		field("map of any", deep),
		value{"alone/any, nested", pointer(any(deep))},
		value{"alone/map of any", deep},
		value{"alone/map of any uint64", map[string]any{"list": []any{uint64(math.MaxUint64 - 1)}}},
	)
}

// unsupported returns what no codec carries.
func unsupported() []value {
	return []value{
		{"alone/unsupported channel", make(chan int)},
		field("unsupported channel", make(chan int)),
		{"alone/unsupported func", func() {}},
		field("unsupported func", func() {}),
	}
}
