package bridge

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"unicode/utf8"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// PayloadFromMQTT returns the payload of an event that carries an MQTT message:
//
//   - none: no arguments;
//   - a JSON object, array, number, true, false or null with no white space around
//     it: that value, spliced in as it is;
//   - any other UTF-8 text that does not begin with NUL, JSON strings with their
//     quotes included: a text;
//   - a CBOR map, not empty and with texts for keys, or any item of CBOR marked as such
//     (d9d9f7, RFC 8949, 3.4.6): that value, spliced in as it is;
//   - anything else: binary.
//
// JSON that a router could not carry to sessions of every serializer (numbers out
// of range such as 1e400, texts that claim to be binary and are not, nesting or
// sizes above the default limits of package serialize) counts as text, such CBOR as
// binary. The result shares nothing with b.
func PayloadFromMQTT(b []byte) wamp.Payload {
	// The first byte of an array is too likely one of a sensor's own.
	if len(b) > 1 && b[0] > 0xa0 && b[0] <= 0xbf || bytes.HasPrefix(b, cborMark) {
		if p, ok := payloadFromCBOR(b); ok {
			return p
		}
	}
	return payloadFromText(b)
}

// payloadFromText returns the payload of bytes that are not CBOR.
func payloadFromText(b []byte) wamp.Payload {
	if len(b) == 0 {
		return wamp.Payload{}
	}
	if isJSON(b) {
		raw := make([]byte, 0, len(b)+2)
		raw = append(append(append(raw, '['), b...), ']')
		if portable(raw) {
			return wamp.RawPayload(wamp.JSON, raw, nil)
		}
	}
	if b[0] != 0 && utf8.Valid(b) {
		return wamp.Args(string(b))
	}
	return wamp.Args(bytes.Clone(b))
}

// cborMark is the tag of data that says of itself that it is CBOR (RFC 8949, 3.4.6).
var cborMark = []byte{0xd9, 0xd9, 0xf7}

// payloadFromCBOR returns b as the only argument, if it is one item of CBOR that every
// serializer can carry.
func payloadFromCBOR(b []byte) (p wamp.Payload, ok bool) {
	raw := append([]byte{0x81}, b...)
	if serialize.Valid(wamp.CBOR, raw, serialize.Limits{}) != nil {
		return p, false
	}
	for _, f := range []wamp.Format{wamp.JSON, wamp.MsgPack} {
		if _, err := serialize.Transcode(nil, f, raw, wamp.CBOR); err != nil {
			return p, false
		}
	}
	return wamp.RawPayload(wamp.CBOR, raw, nil), true
}

// Publication returns the payload and the passthru attributes of the event that an MQTT
// message is: the payload is that of PayloadFromMQTT, with props unless they are nil.
// A content type in these decides whether the message is CBOR, and of that type any item
// is taken, not only maps and marked ones. It is noted in props. Properties that cannot be
// carried are left out.
func Publication(b []byte, props *Properties) (wamp.Payload, *wamp.Passthru) {
	if props == nil {
		props = &Properties{}
	}
	var p wamp.Payload
	switch props.ContentType {
	case "":
		p = PayloadFromMQTT(b)
		props.CBOR = p.Format() == wamp.CBOR
	case "application/cbor":
		p, props.CBOR = payloadFromCBOR(b)
	}
	if props.ContentType != "" && !props.CBOR {
		p = payloadFromText(b)
	}
	ppt := foreign(p)
	p, _ = WithProperties(p, props)
	return p, ppt
}

// mqttScheme says that a payload is what an MQTT client sent, in a form that only
// it knows (AP "Payload Passthru Mode").
const mqttScheme = "mqtt"

// foreign returns the passthru attributes for a payload of PayloadFromMQTT: those
// of scheme mqtt for binary, which is neither JSON nor text, and nil for any other.
func foreign(p wamp.Payload) *wamp.Passthru {
	if args, _ := p.GoValues(); len(args) == 1 {
		if _, binary := args[0].([]byte); binary {
			return &wamp.Passthru{Scheme: mqttScheme}
		}
	}
	return nil
}

// isJSON tells by the ends of b whether it may be a JSON value that is passed on
// as one.
func isJSON(b []byte) bool {
	last := b[len(b)-1]
	switch c := b[0]; {
	case c == '{':
		return last == '}'
	case c == '[':
		return last == ']'
	case c == '-' || c >= '0' && c <= '9':
		return last >= '0' && last <= '9'
	}
	return string(b) == "true" || string(b) == "false" || string(b) == "null"
}

// portable reports whether the JSON array raw is one element, well formed, and
// can be turned into the other serializers.
func portable(raw []byte) bool {
	// The array that is added around the value is a level of its own.
	if serialize.Valid(wamp.JSON, raw, serialize.Limits{}) != nil {
		return false
	}
	if !single(raw) {
		return false // "1,2": two elements
	}
	if !suspicious(raw) {
		return true
	}
	_, err := serialize.Transcode(nil, wamp.CBOR, raw, wamp.JSON)
	return err == nil
}

// suspicious reports whether well-formed JSON may be something that another
// serializer cannot carry: a number with an exponent or hundreds of digits, or a
// text with an escaped NUL.
func suspicious(b []byte) bool {
	digits := 0
	for i, c := range b {
		switch {
		case c >= '0' && c <= '9':
			if digits++; digits > 300 {
				return true
			}
			continue
		case (c == 'e' || c == 'E') && digits > 0:
			return true
		case c == 'u' && i > 0 && b[i-1] == '\\' && bytes.HasPrefix(b[i:], []byte("u0000")):
			return true
		}
		digits = 0
	}
	return false
}

// AppendMQTT appends the MQTT message that carries an event's payload: nothing
// for an event without arguments; for exactly one argument and no keyword
// arguments the text or binary itself, or the value as JSON; otherwise the JSON
// object {"args":[...],"kwargs":{...}}, with binary as in WAMP's JSON. It is the
// reverse of PayloadFromMQTT, but for CBOR, which becomes JSON; see
// [Properties.AppendMQTT]. On error, of a payload that JSON cannot carry such
// as NaN, dst is returned as it was.
func AppendMQTT(dst []byte, p wamp.Payload) ([]byte, error) {
	if p.Format() == wamp.NoFormat {
		if args, kwargs := p.GoValues(); len(kwargs) == 0 {
			switch len(args) {
			case 0:
				return dst, nil
			case 1:
				switch v := args[0].(type) {
				case string:
					return append(dst, v...), nil
				case []byte:
					return append(dst, v...), nil
				}
			}
		}
	}
	raw, err := serialize.Encode(wamp.JSON, p)
	if err != nil {
		return dst, err
	}
	args, kwargs := raw.Raw()
	args, kwargs = bytes.TrimSpace(args), bytes.TrimSpace(kwargs)
	if empty(kwargs) {
		if empty(args) {
			return dst, nil
		}
		if single(args) {
			return appendValue(dst, bytes.TrimSpace(args[1:len(args)-1]))
		}
	}
	if len(args) == 0 {
		args = []byte("[]")
	}
	if len(kwargs) == 0 {
		kwargs = []byte("{}")
	}
	dst = append(append(dst, `{"args":`...), args...)
	dst = append(append(dst, `,"kwargs":`...), kwargs...)
	return append(dst, '}'), nil
}

// appendValue appends one JSON value, a string without its quotes and escapes.
func appendValue(dst, v []byte) ([]byte, error) {
	if v[0] != '"' {
		return append(dst, v...), nil
	}
	var s string
	if err := json.Unmarshal(v, &s); err != nil {
		return dst, &wamp.PayloadError{Format: wamp.JSON, Text: "text is malformed"}
	}
	if s == "" || s[0] != 0 {
		return append(dst, s...), nil
	}
	out, err := base64.StdEncoding.AppendDecode(dst, []byte(s[1:]))
	if err != nil {
		return dst, &wamp.PayloadError{Format: wamp.JSON, Text: "binary is not base64"}
	}
	return out, nil
}

// empty reports whether a well-formed JSON array or object is absent or has no
// elements.
func empty(b []byte) bool { return len(b) < 2 || len(bytes.TrimSpace(b[1:len(b)-1])) == 0 }

// single reports whether a well-formed, not empty JSON array has one element: no
// comma at its own level.
func single(b []byte) bool {
	depth, text := 0, false
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case text:
			if c == '\\' {
				i++
			} else if c == '"' {
				text = false
			}
		case c == '"':
			text = true
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		case c == ',' && depth == 1:
			return false
		}
	}
	return true
}

// Arguments returns the payload of a call by a message whose payload is p: an object
// with nothing but args (an array) and kwargs (an object) stands for those, as
// AppendMQTT writes them, in CBOR too; anything else is the only argument.
func Arguments(p wamp.Payload) wamp.Payload {
	in := p
	if p.Format() == wamp.CBOR {
		var err error
		if in, err = serialize.Encode(wamp.JSON, p); err != nil {
			return p
		}
	}
	raw, kwargs := in.Raw()
	if len(raw) < 2 || len(kwargs) > 0 {
		return p
	}
	var m struct {
		Args   json.RawMessage `json:"args"`
		Kwargs json.RawMessage `json:"kwargs"`
	}
	d := json.NewDecoder(bytes.NewReader(raw[1 : len(raw)-1]))
	d.DisallowUnknownFields()
	if d.Decode(&m) != nil || m.Args == nil && m.Kwargs == nil ||
		m.Args != nil && m.Args[0] != '[' || m.Kwargs != nil && m.Kwargs[0] != '{' {
		return p
	}
	if m.Args == nil {
		m.Args = json.RawMessage("[]")
	}
	return wamp.RawPayload(wamp.JSON, m.Args, m.Kwargs)
}
