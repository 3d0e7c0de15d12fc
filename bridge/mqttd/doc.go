// Package mqttd is the gateway's MQTT 3.1.1 listener: another transport of the
// WAMP router. An MQTT client is a session of the realm. Its connection implements
// wamp.Peer towards the router, so that there is one table of subscriptions, one
// store of last values and one permission model for both protocols:
//
//	CONNECT            HELLO (authmethod anonymous; authid: user name or client id)
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
// QoS 0 and 1 in both directions; QoS 2 when publishing, with its handshake, while
// subscriptions are granted QoS 1 at most; retained messages, wills, wildcards,
// take-over of a client id, keep-alive. Protocol levels 4 (3.1.1) and 3 (3.1) are
// served alike; others, MQTT 5 included, get CONNACK 1.
//
// Sessions are not kept: CONNECT without the clean session flag is accepted and
// answered with session present = 0, and the subscriptions end with the
// connection.
//
// # Where it differs
//
// WAMP events carry no QoS, so a subscription granted QoS 1 receives everything at
// QoS 1, also what was published at QoS 0. A PUBLISH that the router refuses is
// acknowledged all the same, as MQTT 3.1.1 has no negative answer
// (MQTT-3.3.5-2), and counted. A message for which several filters of a client
// match comes once for each WAMP pattern behind them, at the highest QoS of those
// filters (MQTT-3.3.5-1 allows copies).
//
// # Limits
//
// Nothing that a client sends or leaves undone grows memory without bound: see
// Config. Messages at QoS 0 that do not fit a slow client's queue are the router's
// to keep or drop, and it counts them; a client that falls behind at QoS 1 is
// disconnected. A client that does not read its answers is not read from until it
// does.
package mqttd
