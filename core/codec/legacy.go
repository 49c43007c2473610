package codec

// Names of v5, v6 and v7.

// Deprecated: Use JSON, Protobuf, Thrift, Form, Plain, XML.
const (
	ID_JSON     = JSON
	ID_PROTOBUF = Protobuf
	ID_THRIFT   = Thrift
	ID_FORM     = Form
	ID_PLAIN    = Plain
	ID_XML      = XML
)

// Deprecated: Use NameJSON, NameProtobuf, NameThrift, NameForm, NamePlain, NameXML.
const (
	NAME_JSON     = NameJSON
	NAME_PROTOBUF = NameProtobuf
	NAME_THRIFT   = NameThrift
	NAME_FORM     = NameForm
	NAME_PLAIN    = NamePlain
	NAME_XML      = NameXML
)

// Reg is Register.
//
// Deprecated: Use Register.
func Reg(c Codec) { Register(c) }
