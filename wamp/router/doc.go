// Package router is a WAMP router: realms, each with a broker and a dealer, and
// the sessions joined to them. It knows wamp.Peer, not transports: whoever
// accepts a connection, in process or from a network, hands the peer to
// Router.Accept.
//
// # How a message travels
//
// Accept reads a peer in the caller's goroutine and handles each message there,
// to the end, before it reads the next: the router has no goroutine of its own on
// the way. Broker and dealer are state machines behind one lock each. Their input
// is one message of one session, their output is messages put into the bounded
// queues of other peers (wamp.Peer.TrySend, which never blocks). Payloads are
// passed on as the bytes they came in.
//
// The next message of a session is read later when a lossless receiver of the last
// one is over its mark (wamp.Congestible), when it sends more than its rate, or when
// it does not read the answers that it has asked for (wamp.Throttled). None of these
// waits holds a lock or depends on another session being read; the last one lasts a
// second at most when the session reads nothing, so that two who wait for each
// other go on.
//
// # Locks
//
// The broker's lock is read-held while an event is put into its subscribers'
// queues, so publications run side by side, and write-held while subscriptions
// change; that is what makes SUBSCRIBED precede the first EVENT and UNSUBSCRIBED
// follow the last. The dealer's lock is held while an INVOCATION or its answer is
// queued, so that invocation IDs reach a callee in order and a call gets exactly
// one final answer. The two are never held together.
package router
