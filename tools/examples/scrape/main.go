// Command scrape counts what a peer does, serves the counts over HTTP, and reads
// them as Prometheus does, with Prometheus' own parser.
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	tp "github.com/teleport-go/teleport/core"
	_ "github.com/teleport-go/teleport/mixers/standard"
	"github.com/teleport-go/teleport/plugins/stats"
)

func main() {
	tp.SetLoggerLevel("OFF")
	counts := stats.New()
	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1"}, counts)
	defer srv.Close()
	tp.HandleCall(srv, "/math/add", func(_ tp.CallCtx, arg *[]int) (int, error) {
		sum := 0
		for _, n := range *arg {
			sum += n
		}
		return sum, nil
	})
	tp.HandleCall(srv, "/fail", func(tp.CallCtx, *string) (int, error) { return 0, tp.NewRerror(1001, "no", "").Err() })
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}
	cli := tp.NewPeer(tp.PeerConfig{})
	defer cli.Close()
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	if rerr != nil {
		log.Fatal(rerr)
	}
	for _, method := range []string{"/math/add", "/math/add?who=ann", "/fail", "/no/such", "/nor/this"} {
		sess.Call(method, nil, nil)
	}

	srv.Close() // its handlers have ended, and are counted
	web := httptest.NewServer(counts.Metrics())
	defer web.Close()
	series, err := scrape(web.URL)
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range series {
		if strings.HasPrefix(s, "teleport_calls_total") || strings.HasPrefix(s, "teleport_errors_total") || strings.Contains(s, "_duration_seconds_count") {
			fmt.Println(s)
		}
	}
}

// scrape returns the series of a page, as "name{labels} value", in order.
func scrape(url string) (series []string, err error) {
	res, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	return parse(page, res.Header.Get("Content-Type"))
}

func parse(page []byte, contentType string) (series []string, err error) {
	parser, err := textparse.New(page, contentType, labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		return nil, err
	}
	for {
		entry, err := parser.Next()
		switch {
		case errors.Is(err, io.EOF):
			slices.Sort(series)
			return series, nil
		case err != nil:
			return nil, err
		case entry == textparse.EntrySeries:
			_, _, value := parser.Series()
			var l labels.Labels
			parser.Labels(&l)
			const name = "__name__"
			series = append(series, fmt.Sprint(l.Get(name), labels.NewBuilder(l).Del(name).Labels(), " ", value))
		}
	}
}
