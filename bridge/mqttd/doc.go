// Package mqttd is the gateway's listener for MQTT 3.1, 3.1.1 and 5: another transport of the
// WAMP router. An MQTT client is a session of the realm. Its connection implements
// wamp.Peer towards the router, so that there is one table of subscriptions, one
// store of last values and one permission model for both protocols:
//
//	CONNECT            HELLO (ticket with a password, tls with a client certificate,
//	                   else anonymous; authid: user name or client id)
//	CONNACK            WELCOME or ABORT
//	PUBLISH            PUBLISH, acknowledged for QoS 1 and 2, retained with retain
//	SUBSCRIBE          SUBSCRIBE with the last values, one or two for each filter
//	will               PUBLISH before the end of the connection
//	DISCONNECT         GOODBYE
//
// Topics, filters and payloads change sides as package bridge says.
//
// # What of MQTT is there
//
// QoS 0 to 2 in both directions, retained messages, wills with delay, wildcards, shared
// subscriptions, subscription identifiers and options, take-over of a client id,
// keep-alive; of MQTT 5 session and message expiry, topic aliases both ways, receive
// maximum, maximum packet size, assigned client ids, request and response, user
// properties, reason codes. Not extended authentication (AUTH).
//
// A session that its client wants kept (without clean session, or with an expiry) stays
// in the realm while nobody is connected: it subscribes, and what is published above
// QoS 0 waits in it. With a Table it survives the end of the process: what a client has
// been sent an acknowledgement for is on disk by then, where a kept session waits for it.
//
// A PUBLISH with a response topic is a CALL where a procedure of that name is registered.
// The result is published to the response topic, with the correlation data; an error as
// well, with its URI as the user property "error", progressive results with "progress".
//
// # Where it differs
//
// WAMP events carry no QoS, so a subscription receives everything at the QoS that it was
// granted, also what was published at a lower one. A PUBLISH that the router refuses is
// acknowledged all the same in MQTT 3.1.1, which has no negative answer
// (MQTT-3.3.5-2), and counted. A message for which several filters of a client
// match comes once for each WAMP pattern behind them, at the highest QoS of those
// filters (MQTT-3.3.5-1 allows copies).
//
// # Limits
//
// Nothing that a client sends or leaves undone grows memory without bound: see
// Config. Messages at QoS 0 that do not fit a slow client's queue are the router's
// to keep or drop, and it counts them. For a client that falls behind above QoS 0 its
// publishers wait until it has caught up, 2 s for a client identifier and 10 s for all
// clients of a user, of which what was spent comes back thirty times slower; then it is
// disconnected. What a kept session
// has no room for while nobody is connected is dropped and counted. Where the disk takes
// nothing any more, a PUBLISH above QoS 0 for which a kept session waits is refused with 0x97,
// in MQTT 3.1.1 by the end of the connection; removals and other messages pass. A client that does not read its answers is not read from until it
// does.
package mqttd
