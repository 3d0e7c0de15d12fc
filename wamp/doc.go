// Package wamp is the vocabulary of the Web Application Messaging Protocol v2:
// messages, identifiers, URIs, payloads, errors, and the two contracts that
// everything else is built on, [Peer] (one end of a transport) and [Session]
// (what an application component may do in a realm).
//
// It imports the standard library only and does no I/O. Names follow the
// specification (wamp-proto draft-04); "BP" and "AP" in comments stand for its
// basic and advanced profile.
package wamp
