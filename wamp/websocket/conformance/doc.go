// Package conformance judges WebSocket endpoints (RFC 6455, RFC 7692) by scripted
// peers. It is for tests.
//
// A [Case] is a short dialogue between a raw peer and an endpoint that echoes
// every message. The raw peer has framing, handshakes, masking and inflating of its
// own: it writes what no library would, and reads every octet that comes back with
// the strictness of the specification. Each case runs in both directions, a raw client
// against a server and a raw server against a client. [FuzzingServer] offers the
// cases to clients the way the Autobahn testsuite does, whose groups they follow.
package conformance
