module github.com/teleport-go/teleport/tools/examples

go 1.26.0

require (
	github.com/apache/thrift v0.25.0
	github.com/go-playground/validator/v10 v10.30.5
	github.com/prometheus/prometheus v0.315.0
	github.com/stretchr/testify v1.12.1
	github.com/teleport-go/teleport/codecs/cborcodec v0.1.0
	github.com/teleport-go/teleport/codecs/jsoncodec v0.1.0
	github.com/teleport-go/teleport/codecs/thriftcodec v0.1.0
	github.com/teleport-go/teleport/core v0.1.0
	github.com/teleport-go/teleport/mixers/html v0.1.0
	github.com/teleport-go/teleport/mixers/outproc v0.1.0
	github.com/teleport-go/teleport/mixers/resume v0.1.0
	github.com/teleport-go/teleport/mixers/standard v0.1.0
	github.com/teleport-go/teleport/mixers/websocket v0.1.0
	github.com/teleport-go/teleport/plugins/auth v0.1.0
	github.com/teleport-go/teleport/plugins/binder v0.1.0
	github.com/teleport-go/teleport/plugins/health v0.1.0
	github.com/teleport-go/teleport/plugins/heartbeat v0.1.0
	github.com/teleport-go/teleport/plugins/overloader v0.1.0
	github.com/teleport-go/teleport/plugins/proxy v0.1.0
	github.com/teleport-go/teleport/plugins/secure v0.1.0
	github.com/teleport-go/teleport/plugins/stats v0.1.0
	github.com/teleport-go/teleport/plugins/trace v0.1.0
	github.com/teleport-go/teleport/protos/httproto v0.1.0
	github.com/teleport-go/teleport/protos/jsonproto v0.1.0
	github.com/teleport-go/teleport/protos/pbproto v0.1.0
	github.com/teleport-go/teleport/protos/rawproto v0.1.0
	github.com/teleport-go/teleport/protos/thriftproto v0.1.0
	github.com/teleport-go/teleport/xfers/md5 v0.1.0
	github.com/teleport-go/teleport/xfers/zstd v0.1.0
	github.com/vmihailenco/msgpack/v5 v5.4.1
	go.opentelemetry.io/otel/sdk v1.47.0
	go.opentelemetry.io/otel/trace v1.47.0
	go.yaml.in/yaml/v3 v3.0.6
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/gabriel-vasile/mimetype v1.4.16 // indirect
	github.com/go-logr/logr v1.4.4 // indirect
	github.com/go-logr/stdr v1.2.2 // indirect
	github.com/go-playground/locales v0.14.2 // indirect
	github.com/go-playground/universal-translator v0.18.2 // indirect
	github.com/gogo/protobuf v1.3.2 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/grafana/regexp v0.0.0-20250905093917-f7b3be9d1853 // indirect
	github.com/leodido/go-urn v1.5.0 // indirect
	github.com/prometheus/client_model v0.6.3 // indirect
	github.com/prometheus/common v0.72.0 // indirect
	github.com/vmihailenco/tagparser/v2 v2.0.0 // indirect
	go.opentelemetry.io/auto/sdk v1.2.1 // indirect
	go.opentelemetry.io/otel v1.47.0 // indirect
	go.opentelemetry.io/otel/log v1.47.0 // indirect
	go.opentelemetry.io/otel/metric v1.47.0 // indirect
	golang.org/x/crypto v0.57.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
	golang.org/x/text v0.42.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

require (
	github.com/anishathalye/porcupine v1.3.1 // indirect
	github.com/fatih/color v1.19.0 // indirect
	github.com/fxamacker/cbor/v2 v2.9.6 // indirect
	github.com/gobwas/httphead v0.1.0 // indirect
	github.com/gobwas/ws v1.5.0 // indirect
	github.com/golang/protobuf v1.5.4 // indirect
	github.com/hashicorp/go-hclog v1.6.3 // indirect
	github.com/hashicorp/go-plugin v1.8.0 // indirect
	github.com/hashicorp/yamux v0.1.2 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/mattn/go-colorable v0.1.15 // indirect
	github.com/mattn/go-isatty v0.0.23 // indirect
	github.com/oklog/run v1.2.0 // indirect
	github.com/teleport-go/teleport/codecs/formcodec v0.1.0 // indirect
	github.com/teleport-go/teleport/codecs/plaincodec v0.1.0 // indirect
	github.com/teleport-go/teleport/codecs/xmlcodec v0.1.0 // indirect
	github.com/teleport-go/teleport/xfers/gzip v0.1.0 // indirect
	github.com/x448/float16 v0.8.4 // indirect
	golang.org/x/net v0.59.0 // indirect
	golang.org/x/time v0.16.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260825221802-da73d73af1c5 // indirect
	google.golang.org/grpc v1.83.2 // indirect
)
