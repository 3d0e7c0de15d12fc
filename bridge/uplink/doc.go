// Package uplink carries a gateway's events to a far world and lets the far world
// call the gateway's procedures, under the same names.
//
// An [Uplink] subscribes to the chosen event classes in the gateway's own realm,
// filters them, and puts every event into a durable queue. Connections to the far
// world come from a [Sink], of which there is one for each kind: the packages below
// this one. Over each connection the events are sent in order, a window of them at a
// time; as the answers come the queue's cursor moves. Whatever has not been
// acknowledged is sent again over the next connection. The window shrinks when
// answers take longer, so that a slow line has no long queues in its buffers.
//
// While the queue is long the newest value of each point goes ahead of it, beside
// the stream: without numbers, so that it disturbs neither order nor marks.
//
// An event that the far world refuses is tried again in its place, while its topic waits
// and others go on, and after five tries set aside in a queue of dead letters. "Not connected" is no
// refusal.
//
// Only names of this gateway travel, "gantry.<gateway>.", in one direction for
// each kind: events up, calls down. So two gateways with uplinks to each other
// make no loop, unless they have the same name.
package uplink
