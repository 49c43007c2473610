package socket

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

// ErrTLS matches the error of a read that found a TLS record where a frame should
// begin: one side of the connection uses TLS and the other does not.
var ErrTLS = errors.New("TLS record in place of a frame")

// TLSPrefix is the number of bytes by which TLSRecord recognises a record.
const TLSPrefix = 6

type tlsError string

func (e tlsError) Error() string        { return string(e) }
func (e tlsError) Is(target error) bool { return target == ErrTLS }

// TLSRecord returns an error that matches [ErrTLS] if the first bytes of a connection
// are those of a TLS alert or of a TLS handshake, and nil if they are not or if there
// are fewer than [TLSPrefix].
//
// As the size of a frame these bytes would be 336 MiB or more, and what follows
// begins no frame of a protocol of this project.
func TLSRecord(prefix []byte) error {
	const (
		alert, handshake         = 21, 22 // content types
		clientHello, serverHello = 1, 2   // of a handshake
		warning, fatal           = 1, 2   // levels of an alert
	)
	if len(prefix) < TLSPrefix || prefix[1] != 3 || prefix[2] > 4 {
		return nil
	}
	length, first := int(prefix[3])<<8|int(prefix[4]), prefix[5]
	switch {
	case prefix[0] == alert && length == 2 && (first == warning || first == fatal):
		return tlsError("the peer sent a TLS alert: it expects TLS, and this side has no TLS configuration")
	case prefix[0] == handshake && length >= 4 && (first == clientHello || first == serverHello):
		return tlsError("the peer began a TLS handshake, and this side has no TLS configuration")
	}
	return nil
}

// RefusePlain is for the server of a TLS handshake that failed with err. If the
// peer has sent something other than TLS it gets a TLS alert, which [TLSRecord]
// recognises on the other side, and the result is an error that says what the peer
// sent; else the result is err. The caller closes the connection.
func RefusePlain(err error) error {
	var record tls.RecordHeaderError
	if !errors.As(err, &record) || record.Conn == nil {
		return err // TLS, but not as it should be
	}
	// An alert fits into any send buffer: the deadline is for connections without one.
	record.Conn.SetWriteDeadline(time.Now().Add(time.Second))
	record.Conn.Write(unexpectedMessage)
	return fmt.Errorf("the peer does not use TLS, it sent %s: %w", plainText(record.RecordHeader), err)
}

// unexpectedMessage is the fatal alert of that name, of TLS 1.2.
var unexpectedMessage = []byte{21, 3, 3, 0, 2, 2, 10}

// plainText describes the first bytes of a peer that does not use TLS.
func plainText(first [5]byte) string {
	text := true
	for _, c := range first {
		text = text && (c >= 'A' && c <= 'Z' || c == ' ' || c == '/')
	}
	switch {
	case text:
		return fmt.Sprintf("an HTTP request (%q)", first)
	case first[0] < 1<<4:
		return fmt.Sprintf("a frame without encryption (%q)", first)
	}
	return fmt.Sprintf("%q", first)
}
