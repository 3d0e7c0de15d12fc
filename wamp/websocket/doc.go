// Package websocket is plain WebSocket (RFC 6455), client and server, on
// gorilla/websocket. It knows nothing of WAMP.
//
// gorilla does the opening handshake and reads frames. What is sent goes through
// a bounded queue beneath it, which any goroutine fills without waiting and which
// leaves in one system call for all frames that have gathered; see [Conn.Send].
package websocket
