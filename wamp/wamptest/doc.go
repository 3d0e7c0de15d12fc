// Package wamptest is a scripted WAMP peer for tests. It has framing and
// handshakes of its own, so that it sends what no client would send: any bytes,
// any document, any order, over WebSocket and RawSocket in every serializer and
// over the in-process pipe.
//
// # Documents
//
// Messages are written as JSON, whatever the serializer on the wire:
//
//	p.Send(`[32, "+", {}, "com.example.topic"]`)
//	p.Expect(`[33, "=", "$sub"]`)
//
// Texts that are special as a whole value:
//
//	"+"      next request ID of the peer, counted 1, 2, 3 (sending only)
//	"="      the request ID used last
//	"$name"  a variable: unset it takes the value received, set it stands for it
//	"$authid" a variable that is set to a random text for each peer
//	"*"      any value (expecting only)
//	"..."    at the end of a list: any rest; as a key: any further keys (expecting only)
//
// Binary values are NUL and base64, as on the JSON wire. Integers and floats
// differ: 1 is not 1.0.
package wamptest
