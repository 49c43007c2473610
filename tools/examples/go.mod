module github.com/teleport-go/teleport/tools/examples

go 1.26.0

require (
	github.com/apache/thrift v0.25.0
	github.com/teleport-go/teleport/codecs/thriftcodec v0.1.0
	github.com/teleport-go/teleport/core v0.1.0
	github.com/teleport-go/teleport/mixers/standard v0.1.0
	github.com/teleport-go/teleport/plugins/auth v0.1.0
	github.com/teleport-go/teleport/plugins/heartbeat v0.1.0
	github.com/teleport-go/teleport/plugins/overloader v0.1.0
	github.com/teleport-go/teleport/plugins/proxy v0.1.0
	github.com/teleport-go/teleport/plugins/stats v0.1.0
	github.com/teleport-go/teleport/protos/httproto v0.1.0
	github.com/teleport-go/teleport/protos/jsonproto v0.1.0
	github.com/teleport-go/teleport/protos/pbproto v0.1.0
	github.com/teleport-go/teleport/protos/rawproto v0.1.0
	github.com/teleport-go/teleport/protos/thriftproto v0.1.0
	go.yaml.in/yaml/v3 v3.0.6
)

require (
	github.com/go-playground/validator/v10 v10.30.6
	github.com/prometheus/common v0.72.0
	github.com/prometheus/prometheus v0.315.0
	github.com/teleport-go/teleport/codecs/formcodec v0.1.0 // indirect
	github.com/teleport-go/teleport/codecs/jsoncodec v0.1.0 // indirect
	github.com/teleport-go/teleport/codecs/plaincodec v0.1.0 // indirect
	github.com/teleport-go/teleport/codecs/xmlcodec v0.1.0 // indirect
	github.com/teleport-go/teleport/plugins/binder v0.1.0
	github.com/teleport-go/teleport/plugins/secure v0.1.0
	github.com/teleport-go/teleport/xfers/gzip v0.1.0 // indirect
	github.com/teleport-go/teleport/xfers/md5 v0.1.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)
