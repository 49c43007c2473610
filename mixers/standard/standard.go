// Package standard is the usual set by blank import: the raw protocol, the json,
// plain, form and xml codecs, and the gzip and md5 filters.
//
//	import (
//		tp "github.com/teleport-go/teleport/core"
//		_ "github.com/teleport-go/teleport/mixers/standard"
//	)
package standard

import (
	_ "github.com/teleport-go/teleport/codecs/formcodec"
	_ "github.com/teleport-go/teleport/codecs/jsoncodec"
	_ "github.com/teleport-go/teleport/codecs/plaincodec"
	_ "github.com/teleport-go/teleport/codecs/xmlcodec"
	_ "github.com/teleport-go/teleport/protos/rawproto"
	_ "github.com/teleport-go/teleport/xfers/gzip"
	_ "github.com/teleport-go/teleport/xfers/md5"
)
