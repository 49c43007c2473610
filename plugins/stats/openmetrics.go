package stats

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// OpenMetricsType is the Content-Type of what WriteOpenMetrics writes.
const OpenMetricsType = "application/openmetrics-text; version=1.0.0; charset=utf-8"

// WriteOpenMetrics writes a snapshot as OpenMetrics text 1.0, in one Write. The
// error is w's.
func (s *Stats) WriteOpenMetrics(w io.Writer) error {
	_, err := w.Write(s.Snapshot().AppendOpenMetrics(nil))
	return err
}

// Metrics returns the handler of OpenMetrics text, for Prometheus and its like.
func (s *Stats) Metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", OpenMetricsType)
		s.WriteOpenMetrics(w) // an error means that the scraper has disconnected
	})
}

// JSON returns the handler of the snapshot as JSON.
func (s *Stats) JSON() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		io.WriteString(w, s.String())
	})
}

// AppendOpenMetrics appends the snapshot as OpenMetrics text 1.0.
func (v Snapshot) AppendOpenMetrics(dst []byte) []byte {
	b := bytes.NewBuffer(dst)
	family(b, "teleport_sessions", "gauge", "", "Sessions that live.")
	sample(b, "teleport_sessions", uint64(v.Accepted), "side", "accepted")
	sample(b, "teleport_sessions", uint64(v.Dialled), "side", "dialled")
	family(b, "teleport_connections", "counter", "", "Connections made; redials apart.")
	sample(b, "teleport_connections_total", v.AcceptedTotal, "side", "accepted")
	sample(b, "teleport_connections_total", v.DialledTotal, "side", "dialled")
	family(b, "teleport_redials", "counter", "", "Broken connections made again.")
	sample(b, "teleport_redials_total", v.Redials)
	family(b, "teleport_queued_messages", "gauge", "", "Messages accepted for sending and not written.")
	sample(b, "teleport_queued_messages", uint64(max(v.QueuedMessages, 0)))
	family(b, "teleport_queued_bytes", "gauge", "bytes", "Bytes accepted for sending and not written.")
	sample(b, "teleport_queued_bytes", uint64(max(v.QueuedBytes, 0)))
	family(b, "teleport_oldest_queued_seconds", "gauge", "seconds", "How long the oldest of them has waited.")
	b.WriteString("teleport_oldest_queued_seconds " + strconv.FormatFloat(v.OldestQueued.Seconds(), 'g', -1, 64) + "\n")

	family(b, "teleport_calls_in_flight", "gauge", "", "Calls under way.")
	for _, r := range v.Routes {
		sample(b, "teleport_calls_in_flight", r.InFlight, "direction", string(r.Direction), "route", r.Name)
	}
	counter := func(name, unit, help string, value func(*Route) uint64) {
		family(b, name, "counter", unit, help)
		for i := range v.Routes {
			r := &v.Routes[i]
			sample(b, name+"_total", value(r), "direction", string(r.Direction), "route", r.Name)
		}
	}
	counter("teleport_calls", "", "Calls, answered or not.", func(r *Route) uint64 { return r.Calls })
	counter("teleport_pushes", "", "Pushes, refused ones included.", func(r *Route) uint64 { return r.Pushes })
	counter("teleport_received_bytes", "bytes", "Bytes of frames received.", func(r *Route) uint64 { return r.BytesReceived })
	counter("teleport_sent_bytes", "bytes", "Bytes of frames sent.", func(r *Route) uint64 { return r.BytesSent })

	family(b, "teleport_errors", "counter", "", "Calls and pushes that have ended with an error, by code.")
	for _, r := range v.Routes {
		for _, code := range slices.Sorted(maps.Keys(r.Errors)) {
			sample(b, "teleport_errors_total", r.Errors[code], "direction", string(r.Direction), "route", r.Name, "code", strconv.Itoa(int(code)))
		}
		if r.OtherErrors > 0 {
			sample(b, "teleport_errors_total", r.OtherErrors, "direction", string(r.Direction), "route", r.Name, "code", Other)
		}
	}
	v.appendLatencies(b)
	b.WriteString("# EOF\n")
	return b.Bytes()
}

func (v Snapshot) appendLatencies(b *bytes.Buffer) {
	const name = "teleport_call_duration_seconds"
	family(b, name, "histogram", "seconds", "Time of calls until their end.")
	les := make([]string, 0, buckets+1)
	for _, d := range Bounds() {
		les = append(les, strconv.FormatFloat(d.Seconds(), 'g', -1, 64))
	}
	les = append(les, "+Inf")
	for _, r := range v.Routes {
		if r.Latency.Count == 0 {
			continue
		}
		below := uint64(0)
		for i, n := range r.Latency.Counts {
			below += n
			sample(b, name+"_bucket", below, "direction", string(r.Direction), "route", r.Name, "le", les[i])
		}
		sample(b, name+"_count", below, "direction", string(r.Direction), "route", r.Name)
		labelled(b, name+"_sum", "direction", string(r.Direction), "route", r.Name)
		b.WriteString(strconv.FormatFloat(r.Latency.Sum.Seconds(), 'g', -1, 64))
		b.WriteByte('\n')
	}
}

// family begins the samples of one name. A unit must be the name's end.
func family(b *bytes.Buffer, name, kind, unit, help string) {
	b.WriteString("# TYPE " + name + " " + kind + "\n")
	if unit != "" {
		b.WriteString("# UNIT " + name + " " + unit + "\n")
	}
	b.WriteString("# HELP " + name + " " + help + "\n")
}

func sample(b *bytes.Buffer, name string, value uint64, labels ...string) {
	labelled(b, name, labels...)
	b.WriteString(strconv.FormatUint(value, 10))
	b.WriteByte('\n')
}

var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// labelled writes the name with its labels, keys and values by turns, and a space.
func labelled(b *bytes.Buffer, name string, labels ...string) {
	b.WriteString(name)
	for i := 0; i < len(labels); i += 2 {
		sep := byte(',')
		if i == 0 {
			sep = '{'
		}
		b.WriteByte(sep)
		b.WriteString(labels[i] + `="`)
		escape.WriteString(b, strings.ToValidUTF8(labels[i+1], "\ufffd"))
		b.WriteByte('"')
	}
	if len(labels) > 0 {
		b.WriteByte('}')
	}
	b.WriteByte(' ')
}
