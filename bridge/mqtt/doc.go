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
// A message at QoS 1 is acknowledged when its readings have been handed to the
// realm. While the realm takes nothing more, neither does the client: the broker
// is slowed down, not the memory filled. A message that cannot be read is
// acknowledged as well, and becomes readings of quality bad.
//
// A call returns when the broker has acknowledged its message (QoS 1 and 2) or it
// has been written (QoS 0). While there is no connection it is refused at once
// with gantry.error.offline; it is never kept for later.
//
// # The broker is not trusted
//
// What it sends is checked for size and form before paho sees it, since paho
// reserves what a packet claims to need and takes some malformed ones for an
// invitation to index out of range. Such a packet ends the connection, not the
// process.
package mqtt
