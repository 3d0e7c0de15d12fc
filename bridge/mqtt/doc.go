// Package mqtt joins an external MQTT 3.1.1 broker to a realm: what the rules
// [[map]] are for becomes readings there, and calls of the procedures of the
// rules [[command]] become messages to the broker.
//
// A [Client] is a component: it needs nothing but a session. It makes one paho
// client for each connection and never lets it reconnect by itself, so that
// nothing of an old connection, least of all a command, is sent over a new one.
// At every connect it subscribes, whatever the broker claims to remember.
//
// # Delivery
//
// A message at QoS 1 or 2 is acknowledged when the realm has taken its readings and
// Deps.Settle says that they are where they are kept; as many as come meanwhile are
// settled together, and acknowledged in their order. What is lost before is sent
// again by the broker: QoS 1 may repeat a message, and so may QoS 2 if the gateway
// itself has been restarted in between. While the realm takes nothing more, neither
// does the client: the broker is slowed down, not the memory filled.
//
// A message that cannot be read is acknowledged as well, and becomes readings of
// quality bad. One whose readings the realm refuses is tried five times, and then set
// aside.
//
// A call returns when the broker has acknowledged its message (QoS 1 and 2) or it
// has been written (QoS 0). While there is no connection it is refused at once
// with gantry.error.offline; it is never kept for later.
//
// # A broker that is deaf
//
// A broker, or what is in between, may answer pings and have lost the subscriptions.
// When it has delivered nothing for a while it has to return a message that the
// client publishes to a topic of its own; otherwise the connection is made anew.
//
// # The broker is not trusted
//
// What it sends is checked for size and form before paho sees it, since paho
// reserves what a packet claims to need and takes some malformed ones for an
// invitation to index out of range. Such a packet ends the connection, not the
// process.
package mqtt
