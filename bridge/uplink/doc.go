// Package uplink carries a gateway's events to another WAMP router and serves
// the gateway's procedures there, under the same names.
//
// An [Uplink] is a component with two sessions. On the local one it subscribes
// to the chosen event classes and puts every event into a durable queue; a
// reconnecting client sends them from there, in order, each as an acknowledged
// publication, and moves the queue's cursor as the answers come. Whatever the
// far router has not acknowledged is sent again. Every publication carries
// wamp.Once with an identity that no two records share, so a Gantry router
// routes it once; another router sees some events twice after a lost
// connection, and receivers know them by the envelope's ep and seq.
//
// A publication that the far router refuses is tried again at the end of the
// queue, and after five tries set aside in a queue of dead letters. "Not
// connected" is no refusal.
//
// Only names of this gateway travel, "gantry.<gateway>.", in one direction for
// each kind: events up, calls down. So two gateways with uplinks to each other
// make no loop, unless they have the same name.
package uplink
