package main

// Headings of MIGRATING.md.
const (
	inFirst    = "First"
	inV5       = "Names, v5"
	inV7       = "Names, eRPC v7"
	inPackages = "Packages and their functions"
)

// rule is how a name is rewritten. One of the fields is set, but for hint and
// heading, which belong together.
type rule struct {
	to    string // the name here
	edit  edit   // more than a name changes
	hint  string // what is left to a person
	under string // the heading in MIGRATING.md
}

// rules are by package and name ("tp.NewStatus", "codec.ID_JSON"), or by type and
// member ("Status.OK"). A name without a rule is the same here.
var rules = map[string]rule{
	// Errors.
	"tp.Status":              {to: "Rerror"},
	"socket.Status":          {to: "Rerror"},
	"tp.NewStatus":           {edit: newStatus},
	"tp.NewStatusWithStack":  {edit: newStatus},
	"tp.NewStatusByCodeText": {edit: newStatusByCodeText},
	"tp.IsConnError":         {to: "IsConnRerror"},
	"tp.WithStatus":          {to: "WithRerror"},
	"socket.WithStatus":      {to: "WithRerror"},
	"socket.SwapMap":         {to: "Swap"}, // stands for goutil.Map, which programs may go on using
	"tp.CheckStatus":         {hint: "return the error; a panic in a handler is a 500", under: inV7},
	"tp.ThrowStatus":         {hint: "return the error; a panic in a handler is a 500", under: inV7},
	"tp.PanicStatus":         {hint: "return the error; a panic in a handler is a 500", under: inV7},
	"tp.CatchStatus":         {hint: "return the error; a panic in a handler is a 500", under: inV7},
	"tp.NewStatusFromQuery":  {hint: "no successor: the protocols read and write the status", under: inV7},

	"Status.Code":         {edit: statusCode},
	"Status.Msg":          {edit: statusField("Message")},
	"Status.Cause":        {edit: statusCause},
	"Status.OK":           {edit: negated("HasError")},
	"Status.SetMsg":       {to: "SetMessage"},
	"Status.SetCause":     {hint: "SetReason(text)", under: inV7},
	"Status.SetCode":      {hint: "assign the field Code", under: inV7},
	"Status.Copy":         {hint: "Copy() has no arguments: Copy().SetReason(text)", under: inV7},
	"Status.UnknownError": {hint: "compare tp.Code(r.Err()) with tp.CodeUnknownError", under: inV7},
	"Status.TagStack":     {hint: "no stack is kept: a panic has its stack in the log", under: inV7},
	"Status.StackTrace":   {hint: "no stack is kept: a panic has its stack in the log", under: inV7},
	"Status.Clear":        {hint: "use a nil *Rerror for no error", under: inV7},
	"Status.EncodeQuery":  {hint: "no successor: the protocols read and write the status", under: inV7},
	"Status.QueryString":  {hint: "no successor: the protocols read and write the status", under: inV7},
	"Status.DecodeQuery":  {hint: "no successor: the protocols read and write the status", under: inV7},
	"Status.JSONString":   {to: "String"},

	"CallCmd.Status":    {to: "Rerror"},
	"CallCmd.StatusOK":  {edit: negated("Rerror().HasError")},
	"WriteCtx.Status":   {to: "Rerror"},
	"WriteCtx.StatusOK": {edit: negated("Rerror().HasError")},
	"ReadCtx.Status":    {to: "Rerror"},
	"ReadCtx.StatusOK":  {edit: negated("Rerror().HasError")},
	"Header.Status":     {edit: messageStatus},
	"Header.StatusOK":   {edit: negated("Rerror().HasError")},
	"Header.SetStatus":  {to: "SetRerror"},

	"Rerror.ToError":       {to: "Err"},
	"tp.NewRerrorFromMeta": {hint: "it finds nothing in the metadata of a message, whose error is msg.Rerror()", under: inV5},
	"tp.MetaRerror":        {hint: "it is never in the metadata of a message, whose error is msg.Rerror()", under: inV5},

	"socket.NewStatus":          {edit: newStatus},
	"socket.NewStatusWithStack": {edit: newStatus},

	// Peers and sessions.
	"PluginImpl.OnPostDial":   {hint: "OnPostDial(sess): without the flag; it runs at a redial too, unless OnPostRedial(sess) is set", under: inV7},
	"PeerConfig.DialTimeout":  {to: "DefaultDialTimeout"},
	"PeerConfig.ListenerAddr": {hint: "peer.Addrs(), after Listen", under: inV5},
	"PeerConfig.ListenAddr":   {hint: "peer.Addrs(), after Listen", under: inV7},
	"PeerConfig.LocalAddr":    {hint: "sess.LocalAddr()", under: inV7},
	"PeerConfig.Reload":       {hint: "read the file and make a new peer", under: inV5},
	"Peer.ServeConn":          {hint: "it returns the Session alone; nil if a hook refused the connection, and the log says why", under: inV5},
	"tp.Dialer":               {hint: "peer.DialContext", under: inV7},
	"tp.NewDialer":            {hint: "peer.DialContext", under: inV7},
	"tp.Router":               {edit: routerType},
	"tp.SubRouter":            {edit: routerType},

	// The process.
	"tp.AnywayGo":             {to: "Go"},
	"tp.MustGo":               {edit: mustGo},
	"tp.SetGopool":            {edit: dropStatement("there is no pool; PeerConfig.MaxHandlers bounds the handlers of a session", inV5)},
	"tp.FirstSweep":           {hint: "give it to SetShutdown", under: inPackages},
	"tp.BeforeExiting":        {hint: "give it to SetShutdown", under: inPackages},
	"tp.NewInheritedListener": {edit: inheritedListener},
	"tp.SetLoggerOutputter":   {edit: loggerOutputter},

	"Logger.LazyPrintf":    lazyLogger,
	"Logger.LazyFatalf":    lazyLogger,
	"Logger.LazyPanicf":    lazyLogger,
	"Logger.LazyCriticalf": lazyLogger,
	"Logger.LazyErrorf":    lazyLogger,
	"Logger.LazyWarnf":     lazyLogger,
	"Logger.LazyNoticef":   lazyLogger,
	"Logger.LazyInfof":     lazyLogger,
	"Logger.LazyDebugf":    lazyLogger,
	"Logger.LazyTracef":    lazyLogger,

	// Metadata.
	"utils.Args":        {edit: moved("Meta")},
	"utils.AcquireArgs": {edit: movedCall("new(", "Meta)")},
	"Args.SetUintBytes": {hint: "SetUint(string(key), value)", under: inPackages},
	"utils.ReleaseArgs": {edit: dropStatement("metadata is the garbage collector's", inPackages)},

	// Codecs and filters.
	"codec.Reg":           {to: "Register"},
	"codec.ID_JSON":       {to: "JSON"},
	"codec.ID_PROTOBUF":   {to: "Protobuf"},
	"codec.ID_THRIFT":     {to: "Thrift"},
	"codec.ID_FORM":       {to: "Form"},
	"codec.ID_PLAIN":      {to: "Plain"},
	"codec.ID_XML":        {to: "XML"},
	"codec.NAME_JSON":     {to: "NameJSON"},
	"codec.NAME_PROTOBUF": {to: "NameProtobuf"},
	"codec.NAME_THRIFT":   {to: "NameThrift"},
	"codec.NAME_FORM":     {to: "NameForm"},
	"codec.NAME_PLAIN":    {to: "NamePlain"},
	"codec.NAME_XML":      {to: "NameXML"},
	"codec.JSONCodec":     {hint: "jsoncodec.Codec, in codecs/jsoncodec", under: inPackages},
	"codec.ProtoCodec":    {hint: "pbcodec.Codec, in codecs/pbcodec", under: inPackages},
	"codec.ThriftCodec":   {hint: "thriftcodec.Codec, in codecs/thriftcodec", under: inPackages},
	"codec.FormCodec":     {hint: "formcodec.Codec, in codecs/formcodec", under: inPackages},
	"codec.PlainCodec":    {hint: "plaincodec.Codec, in codecs/plaincodec", under: inPackages},
	"codec.XMLCodec":      {hint: "xmlcodec.Codec, in codecs/xmlcodec", under: inPackages},
	"xfer.Reg":            {to: "Register"},

	// Sockets.
	"Message.AsHeader":                 {hint: "a Message is a Header", under: inPackages},
	"Message.AsBody":                   {hint: "a Message is a Body", under: inPackages},
	"socket.ErrExceedMessageSizeLimit": {hint: "a message over the limit is an error 104 when it is written, and closes the session when it is read", under: inPackages},
	"socket.SetKeepAlive":              {to: "SetSocketKeepAlive"},
	"socket.SetKeepAlivePeriod":        {to: "SetSocketKeepAlivePeriod"},
	"socket.SetNoDelay":                {to: "SetSocketNoDelay"},
	"socket.SetReadBuffer":             {to: "SetSocketReadBuffer"},
	"socket.SetWriteBuffer":            {to: "SetSocketWriteBuffer"},
	"socket.ReadBuffer":                {to: "SocketReadBuffer"},
	"socket.WriteBuffer":               {to: "SocketWriteBuffer"},
	"socket.RawProtoFunc":              {hint: "rawproto.NewRawProtoFunc(), in protos/rawproto", under: inFirst},
	"socket.TryOptimize":               {hint: "socket.DefaultTuning().Apply(conn)", under: inPackages},
	"socket.NewRawProtoFunc":           {hint: "rawproto.NewRawProtoFunc(), in protos/rawproto", under: inFirst},

	// Protocols and plugins.
	"httproto.NewHTTProtoFunc":      {edit: noArguments},
	"secure.SECURE_META_KEY":        {to: "MetaSecure"},
	"secure.ACCEPT_SECURE_META_KEY": {to: "MetaAcceptSecure"},
}

var lazyLogger = rule{hint: "the package has it, sessions and contexts do not: Infof if EnableLoggerLevel(INFO), and so on", under: inPackages}

// companionHints are about libraries that programs of the ancestors used with them.
var companionHints = map[string]rule{
	"cfgo": {hint: "PeerConfig has no method Reload, which cfgo calls: read the file with a YAML package and give the PeerConfig to tp.Open", under: inV5},
}

// importHints are about packages whose import alone did something, or that have
// no successor.
var importHints = map[string]rule{
	"proto/thriftproto": {hint: "its import no longer sets the RPC mapper and the thrift codec: SetServiceMethodMapper(RPCServiceMethodMapper), DefaultBodyCodec: \"thrift\", and import codecs/thriftcodec", under: inPackages},
	"quic":              {hint: "it is the network of mixers/quic: PeerConfig.Network \"quic\", or Net with options", under: inPackages},
	"kcp":               {hint: "it is the network of mixers/kcp: PeerConfig.Network \"kcp\", or Net with options", under: inPackages},
	"mixer/websocket":   {hint: "mixers/websocket has the same names; the functions for handshakes take the request alone", under: inPackages},
	"mixer/multiclient": {hint: "it is mixers/multiclient, with the same functions; for small calls one session is quicker", under: inPackages},
	"mixer/evio":        {hint: "it is mixers/evio, with the same functions; protocol arguments, TLS and ages work", under: inPackages},
}
