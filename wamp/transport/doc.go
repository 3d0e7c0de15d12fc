// Package transport connects WAMP peers: WebSocket, RawSocket over TCP and Unix
// sockets, and the in-process pipe. It does framing, handshakes, limits and
// keep-alive; what the messages mean is the router's and the client's business.
package transport
