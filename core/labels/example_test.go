package labels_test

import (
	"fmt"
	"sync/atomic"

	"github.com/teleport-go/teleport/core/labels"
)

func ExampleSet() {
	counts := labels.New(labels.Other, 2, func(string) *atomic.Int64 { return new(atomic.Int64) })
	for _, method := range []string{"/math/add", "/math/add?who=ann", "/math/sub", "/made", "/up"} {
		counts.Meet(method).Add(1)
	}
	for label, n := range counts.All() {
		fmt.Println(label, n.Load())
	}
	// Output:
	// other 2
	// /math/add 2
	// /math/sub 1
}
