package bridge

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// Properties are what an MQTT 5 message says besides its payload. An event carries
// them as the keyword argument "mqtt", a dictionary, so that WAMP sessions may read
// and set them; there is none for a message without properties.
type Properties struct {
	Text        bool        `json:"text,omitempty"`           // payload format indicator: the payload is UTF-8
	CBOR        bool        `json:"cbor,omitempty"`           // the message is CBOR; no property of MQTT's
	ContentType string      `json:"content_type,omitempty"`   // such as "application/json"
	Response    string      `json:"response_topic,omitempty"` // MQTT topic to answer on
	Correlation string      `json:"-"`                        // data that an answer repeats
	Expires     int64       `json:"expires,omitempty"`        // microseconds UTC; 0 = never
	User        [][2]string `json:"user,omitempty"`           // user properties in their order
}

const propertiesKey = "mqtt"

type wireProperties struct {
	*Properties
	Correlation string `json:"correlation,omitempty"` // binary as in WAMP's JSON
}

func (p *Properties) empty() bool {
	return !p.Text && !p.CBOR && p.ContentType == "" && p.Response == "" && p.Correlation == "" && p.Expires == 0 && len(p.User) == 0
}

// WithProperties returns payload, which PayloadFromMQTT has made, with props as a
// keyword argument.
func WithProperties(payload wamp.Payload, props *Properties) (wamp.Payload, error) {
	if props.empty() {
		return payload, nil
	}
	w := wireProperties{Properties: props}
	if props.Correlation != "" {
		w.Correlation = "\x00" + base64.StdEncoding.EncodeToString([]byte(props.Correlation))
	}
	kwargs, err := json.Marshal(map[string]any{propertiesKey: w})
	if err != nil {
		return payload, err
	}
	if args, _ := payload.Raw(); payload.Format() == wamp.CBOR {
		kwargs, err = serialize.Transcode(nil, wamp.CBOR, kwargs, wamp.JSON)
		return wamp.RawPayload(wamp.CBOR, args, kwargs), err
	}
	encoded, err := serialize.Encode(wamp.JSON, payload)
	if err != nil {
		return payload, err
	}
	args, _ := encoded.Raw()
	if len(args) == 0 {
		args = []byte("[]")
	}
	return wamp.RawPayload(wamp.JSON, bytes.Clone(args), kwargs), nil
}

// CutProperties takes the properties out of an event's payload. Those that are not as
// WithProperties writes them are left where they are, and nil returned.
func CutProperties(payload wamp.Payload) (wamp.Payload, *Properties) {
	if !mayHaveProperties(payload) {
		return payload, nil
	}
	encoded, err := serialize.Encode(wamp.JSON, payload)
	if err != nil {
		return payload, nil
	}
	args, kwargs := encoded.Raw()
	var all map[string]json.RawMessage
	if json.Unmarshal(kwargs, &all) != nil || all[propertiesKey] == nil {
		return payload, nil
	}
	props := &Properties{}
	w := wireProperties{Properties: props}
	if json.Unmarshal(all[propertiesKey], &w) != nil {
		return payload, nil
	}
	if w.Correlation != "" {
		props.Correlation = w.Correlation
		if w.Correlation[0] == 0 {
			b, err := base64.StdEncoding.DecodeString(w.Correlation[1:])
			if err != nil {
				return payload, nil
			}
			props.Correlation = string(b)
		}
	}
	delete(all, propertiesKey)
	if len(all) == 0 {
		if own, _ := payload.Raw(); props.CBOR && payload.Format() == wamp.CBOR {
			return wamp.RawPayload(wamp.CBOR, own, nil), props // as it was sent
		}
		return wamp.RawPayload(wamp.JSON, args, nil), props
	}
	rest, err := json.Marshal(all)
	if err != nil {
		return payload, nil
	}
	return wamp.RawPayload(wamp.JSON, args, rest), props
}

// PlainMessage returns the payload of the message that an event is, for those who know
// no properties. It reports false for an event that has expired.
func PlainMessage(payload wamp.Payload, now time.Time) (message []byte, fresh bool, err error) {
	payload, props := CutProperties(payload)
	if props != nil && props.Expires != 0 && now.UnixMicro() >= props.Expires {
		return nil, false, nil
	}
	message, err = props.AppendMQTT(nil, payload)
	return message, true, err
}

// AppendMQTT is the function AppendMQTT, but for one argument alone of an event that
// says of itself that it is to be CBOR. p may be nil.
func (p *Properties) AppendMQTT(dst []byte, payload wamp.Payload) ([]byte, error) {
	if p != nil && p.CBOR {
		if raw, err := serialize.Encode(wamp.CBOR, payload); err == nil {
			if args, kwargs := raw.Raw(); len(kwargs) == 0 && len(args) > 1 && args[0] == 0x81 {
				return append(dst, args[1:]...), nil
			}
		}
	}
	return AppendMQTT(dst, payload)
}

// mayHaveProperties tells most payloads without properties cheaply.
func mayHaveProperties(p wamp.Payload) bool {
	if p.Format() == wamp.NoFormat {
		_, kwargs := p.GoValues()
		_, ok := kwargs[propertiesKey]
		return ok
	}
	_, kwargs := p.Raw()
	return bytes.Contains(kwargs, []byte(propertiesKey))
}
