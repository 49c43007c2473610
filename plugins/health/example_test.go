package health_test

import (
	"context"
	"errors"
	"fmt"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/plugins/health"
)

func Example() {
	h := health.New()
	h.SetCheck("database", func(ctx context.Context) error {
		return errors.New("connection refused") // such as db.PingContext(ctx)
	})
	peer := tp.NewPeer(tp.PeerConfig{}, h) // serves /health/live and /health/ready
	defer peer.Close()

	report, err := h.Ready(context.Background())
	fmt.Println(report.Status, report.Checks, report.Errors, err)
	h.Drain() // in a program: tp.SetShutdown(30*time.Second, h.DrainFor(5*time.Second), nil)
	report, err = h.Ready(context.Background())
	fmt.Println(report.Status, err)
	// Output:
	// failing map[database:failing] map[database:connection refused] <nil>
	// draining <nil>
}
