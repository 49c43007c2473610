package outproc_test

import (
	"context"
	"fmt"
	"os"

	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/mixers/outproc"
)

// The guest of this example is the test's own program in another role, which calls
//
//	guest.Serve(reverse{200, "reverse"}, …)
//
// In a real host Path is the file of the guest, such as "./reverse".
func Example() {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	guest, err := outproc.Load(context.Background(), outproc.Guest{Path: self, Env: []string{"OUTPROC_TEST_ROLE=parts"}})
	if err != nil {
		panic(err)
	}
	defer guest.Close()
	for _, part := range guest.Parts() {
		fmt.Println(part.Kind, part.ID, part.Name)
	}

	f, err := xfer.GetByName("reverse") // as a session does for tp.WithXferPipe(200)
	if err != nil {
		panic(err)
	}
	packed, err := f.OnPack([]byte("from another process"))
	fmt.Println(string(packed), err)
	// Output:
	// filter 200 reverse
	// codec 200 boxed
	// ssecorp rehtona morf <nil>
}
