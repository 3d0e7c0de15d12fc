package conformance

import (
	"encoding/binary"
	gojson "encoding/json"
	"fmt"
	"testing"

	"gantry/wamp"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
	"gantry/wamp/websocket/conformance"
)

// webLimit is the largest message that the judged endpoint takes.
const webLimit = 700_000

// webConformance has the router's endpoint judged by the cases that judge the
// library beneath it: what is echoed there comes back as an event here.
func webConformance(t *testing.T) {
	for _, f := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
		l := wamptest.Link{Transport: "websocket", Format: f}
		t.Run(l.String(), func(t *testing.T) {
			t.Parallel()
			w := start(t, l, config{server: transport.Options{
				MaxMessage: webLimit, Deflate: true, DeflateFrom: 1, Linger: wamptest.Deadline, PingInterval: -1}})
			judged := 0
			for i, c := range conformance.Cases() {
				e := selfSubscriber(f, fmt.Sprintf("case.%d", i))
				if !c.ForServer(e) {
					continue
				}
				judged++
				t.Run(c.Group+"/"+c.Name, func(t *testing.T) {
					t.Parallel()
					c.JudgeServer(t, w.dial(), e)
				})
			}
			if judged < 300 {
				t.Errorf("only %d cases suit the endpoint", judged)
			}
		})
	}
}

// selfSubscriber is the router as an echo, for a session that publishes to itself.
func selfSubscriber(f wamp.Format, topic string) conformance.Endpoint {
	e := conformance.Endpoint{
		Path: transport.WebSocketPath, Subprotocol: transport.Subprotocol(f), Limit: webLimit, Only: 2, Farewell: true, Patient: true,
		Wrap:   func(_ byte, parts [][]byte) [][]byte { return publish(f, topic, parts) },
		Unwrap: func(_ byte, message []byte) ([]byte, error) { return published(f, message) },
	}
	if f == wamp.JSON {
		e.Only = 1
	}
	for _, doc := range []string{`[1, "` + realm + `", {"roles": {"publisher": {}, "subscriber": {}}}]`, `[32, 1, {}, "` + topic + `"]`} {
		v, err := serialize.ParseValue(wamp.JSON, []byte(doc), serialize.Limits{})
		if err != nil {
			panic(err)
		}
		m, err := serialize.AppendValue(nil, f, v)
		if err != nil {
			panic(err)
		}
		e.Greet = append(e.Greet, m)
	}
	return e
}

// publish is a PUBLISH whose one argument is made of parts: a string as its octets
// are in JSON, binary otherwise.
func publish(f wamp.Format, topic string, parts [][]byte) [][]byte {
	n, out := 0, make([][]byte, len(parts))
	for i, part := range parts {
		n += len(part)
		out[i] = part
		if f == wamp.JSON {
			out[i] = escape(part)
		}
	}
	length := binary.BigEndian.AppendUint32(nil, uint32(n))
	var head, tail string
	switch f {
	case wamp.JSON:
		head, tail = `[16,1,{"exclude_me":false},"`+topic+`",["`, `"]]`
	case wamp.MsgPack:
		head = "\x95\x10\x01\x81\xAAexclude_me\xC2" + string([]byte{0xA0 | byte(len(topic))}) + topic + "\x91\xC6" + string(length)
	case wamp.CBOR:
		head = "\x85\x10\x01\xA1\x6Aexclude_me\xF4" + string([]byte{0x60 | byte(len(topic))}) + topic + "\x81\x5A" + string(length)
	}
	last := len(out) - 1
	out[0] = append([]byte(head), out[0]...)
	out[last] = append(out[last][:len(out[last]):len(out[last])], tail...)
	return out
}

// escape writes octets as they are within a string of JSON, UTF-8 or not.
func escape(b []byte) []byte {
	var out []byte
	for _, c := range b {
		switch {
		case c < 0x20:
			out = fmt.Appendf(out, `\u%04x`, c)
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		default:
			out = append(out, c)
		}
	}
	return out
}

// published returns the argument of an EVENT.
func published(f wamp.Format, message []byte) ([]byte, error) {
	if f == wamp.JSON {
		var event []gojson.RawMessage
		var args []string
		if err := gojson.Unmarshal(message, &event); err != nil {
			return nil, err
		}
		if len(event) != 5 || string(event[0]) != "36" || gojson.Unmarshal(event[4], &args) != nil || len(args) != 1 {
			return nil, fmt.Errorf("no event: %.100q", message)
		}
		return []byte(args[0]), nil
	}
	v, err := serialize.ParseValue(f, message, serialize.Limits{Bytes: 1 << 24})
	if err != nil {
		return nil, err
	}
	event, _ := v.(wamp.List)
	if len(event) != 5 || event[0] != any(int64(36)) {
		return nil, fmt.Errorf("no event: %.100q", message)
	}
	args, _ := event[4].(wamp.List)
	if len(args) != 1 {
		return nil, fmt.Errorf("an event with %d arguments", len(args))
	}
	b, ok := args[0].([]byte)
	if !ok {
		return nil, fmt.Errorf("an event with argument %T", args[0])
	}
	return b, nil
}
