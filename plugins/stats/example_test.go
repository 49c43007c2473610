package stats_test

import (
	"fmt"
	"net/http"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/plugins/stats"
)

func Example() {
	counts := stats.New()
	peer := tp.NewPeer(tp.PeerConfig{ListenPort: 9090}, counts)
	defer peer.Close()

	mux := http.NewServeMux()
	mux.Handle("/metrics", counts.Metrics()) // OpenMetrics
	mux.Handle("/stats", counts.JSON())

	fmt.Println(counts.Snapshot().Accepted)
	// Output: 0
}
