// Package websocket is plain WebSocket (RFC 6455), client and server, on
// gorilla/websocket. It adds what a service needs around the protocol: limits
// that are set before the first byte is read, subprotocol choice in the client's
// order, origin and host checks, a keepalive that drops dead peers, and a close
// that does not lose data. It knows nothing of what the messages mean.
//
// [Config.Wrap] and the frame functions let a caller take over the sending side
// beneath the library; package transport does so to batch frames.
//
// Compression (RFC 7692) is off unless [Config.Deflate] is set: for small messages
// it costs more than everything else together.
package websocket
