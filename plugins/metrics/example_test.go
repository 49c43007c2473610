package metrics_test

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/plugins/metrics"
)

func Example() {
	counts, err := metrics.New(metrics.Config{NativeFactor: 1.1})
	if err != nil {
		fmt.Println(err)
		return
	}
	peer := tp.NewPeer(tp.PeerConfig{ListenPort: 9090}, counts)
	defer peer.Close()
	tp.HandleCall(peer, "/math/add", func(_ tp.CallCtx, arg *[]int) (int, error) { return len(*arg), nil })

	prometheus.MustRegister(counts)            // with all others of this program,
	http.Handle("/teleport", counts.Handler()) // or alone

	families, _ := prometheus.DefaultGatherer.Gather()
	for _, f := range families {
		if f.GetName() == "teleport_calls_total" {
			m := f.GetMetric()[0]
			fmt.Println(f.GetName(), m.GetLabel()[2].GetValue(), m.GetCounter().GetValue())
		}
	}
	// Output: teleport_calls_total /math/add 0
}
