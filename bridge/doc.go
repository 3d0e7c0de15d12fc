// Package bridge joins the world of MQTT to that of WAMP. It holds what does not
// depend on where the messages come from: the mapping of topics to URIs and of
// filters to patterns, the rules by which a payload changes sides, and
// declarative rules that turn MQTT messages into readings and calls into MQTT
// messages.
//
// Sub-packages carry the messages: mqttd is the gateway's own MQTT listener, mqtt
// the client of an external broker. The rules work the same in both; for messages
// that arrive at the listener they run as the component [Local].
//
// # Topics and URIs
//
// A topic level is a URI component and '/' is '.'. Every byte of a level outside
// of A-Z a-z 0-9 _ - becomes %XX (upper-case hexadecimal); an empty level is a
// lone "%". So "sensors/room 1//t" is "sensors.room%201.%.t", and "$SYS/x" is
// "%24SYS.x". The mapping is total and reversible, see [URIFromTopic].
//
// # Payloads
//
// See [Publication] and [PlainMessage]. What one MQTT client publishes another
// receives byte for byte, and WAMP sessions see JSON and CBOR as values, other text
// as text, and the rest as binary.
package bridge
