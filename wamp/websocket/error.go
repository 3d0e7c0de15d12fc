package websocket

import (
	"errors"
	"fmt"
)

// What ends a connection besides the errors of the network and those below.
var (
	// ErrTooBig is returned when the other side sends a message over MaxMessage or a
	// frame over MaxFrame. The connection has been failed with close code 1009.
	ErrTooBig = errors.New("websocket: message is larger than allowed")
	// ErrNoPong is returned when the other side has been silent for PingInterval and
	// PingTimeout. The connection has been dropped.
	ErrNoPong = errors.New("websocket: the other side is silent and does not answer pings")
	// ErrIdle is returned when no message has passed for Config.Idle. The connection
	// has been closed with code 1001.
	ErrIdle = errors.New("websocket: no message for longer than allowed")
	// ErrSlow is returned when a Broadcast has dropped the connection of a receiver
	// that did not keep up.
	ErrSlow = errors.New("websocket: the other side does not take messages fast enough")
)

// What is wrong with a call.
var (
	// ErrOpcode is returned for a message that is neither Text nor Binary.
	ErrOpcode = errors.New("websocket: a message is Text or Binary")
	// ErrControl is returned for a ping or pong with more than MaxControl bytes.
	ErrControl = fmt.Errorf("websocket: a control frame has %d bytes at most", MaxControl)
	// ErrCloseCode is returned for a close code that must not be sent (RFC 6455, 7.4).
	ErrCloseCode = errors.New("websocket: a close code is 1000 to 1003, 1007 to 1014, or 3000 to 4999")
)

// CloseError is the close frame that ended a connection.
type CloseError struct {
	Code   int    // RFC 6455, 7.4.1; CloseNoStatus if the frame had none
	Reason string // UTF-8
}

// Error returns code and reason.
func (e *CloseError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("websocket: closed with code %d", e.Code)
	}
	return fmt.Sprintf("websocket: closed with code %d: %s", e.Code, e.Reason)
}

// Normal reports whether the code is the one of an orderly end: 1000, 1001 or none.
func (e *CloseError) Normal() bool {
	return e.Code == CloseNormal || e.Code == CloseGoingAway || e.Code == CloseNoStatus
}

// ProtocolError tells how the other side broke the protocol. The connection has
// been failed.
type ProtocolError struct {
	Code int    // of the close frame that was sent, unless Config.FailByDrop: 1002 or 1007
	Text string // what was wrong
}

// Error returns the text.
func (e *ProtocolError) Error() string { return "websocket: " + e.Text }

// HandshakeError tells why a server's answer was refused.
type HandshakeError struct {
	URL    string
	Status int    // of the answer, e.g. 404
	Got    string // what the server answered, at most its first line
	Want   string // what was expected
}

// Error returns all of it.
func (e *HandshakeError) Error() string {
	return fmt.Sprintf("websocket %s: server answered %s, expected %s", e.URL, e.Got, e.Want)
}

// URLError tells what is wrong with a URL, and what is allowed.
type URLError struct {
	URL  string // without password and query
	Text string
}

// Error returns all of it.
func (e *URLError) Error() string { return fmt.Sprintf("websocket %s: %s", e.URL, e.Text) }

// ProxyError tells why the way through a proxy was refused.
type ProxyError struct {
	Proxy  string // URL without password
	Status int    // of the proxy's answer; 0 if there is none
	Text   string // what was wrong
	Err    error  // cause, nil if the proxy has answered
}

// Error returns all of it.
func (e *ProxyError) Error() string {
	return fmt.Sprintf("websocket: proxy %s: %s", e.Proxy, e.Text)
}

// Unwrap returns the cause.
func (e *ProxyError) Unwrap() error { return e.Err }
