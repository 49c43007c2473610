#!/usr/bin/env bash
# Writes std/*.pb.go and vt/*.pb.go from message.proto. It needs protoc
# (libprotoc 3.21.12 wrote what is here); the plugins come through go install.
set -euo pipefail
cd "$(dirname "$0")"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export GOBIN=$tmp/bin PATH=$tmp/bin:$PATH GOWORK=off
go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
go install github.com/planetscale/vtprotobuf/cmd/protoc-gen-go-vtproto@v0.6.0

for package in std vt; do
	mkdir -p "$tmp/benchmsg/$package"
	sed "s/PACKAGE/$package/" message.proto >"$tmp/benchmsg/$package/message.proto"
done
protoc -I "$tmp" --go_out=.. --go_opt=paths=source_relative \
	"$tmp"/benchmsg/std/message.proto "$tmp"/benchmsg/vt/message.proto
protoc -I "$tmp" --go-vtproto_out=.. --go-vtproto_opt=paths=source_relative \
	--go-vtproto_opt=features=marshal+unmarshal+size+unmarshal_unsafe+pool \
	--go-vtproto_opt=pool=github.com/teleport-go/teleport/tools/bench/benchmsg/vt.Message \
	"$tmp"/benchmsg/vt/message.proto
