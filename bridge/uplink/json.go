package uplink

import (
	"bytes"
	"encoding/json"
	"errors"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// AppendJSON appends the event as one JSON object to dst, the form that worlds without
// WAMP get: {"topic":..., "value":..., and the keys of the envelope}. An event that has
// not just one argument has "args":[...] in place of "value". An error is one of a
// payload that JSON cannot carry, such as NaN; dst is returned as it was.
func (e *Event) AppendJSON(dst []byte) ([]byte, error) {
	p, err := serialize.Encode(wamp.JSON, e.Payload)
	if err != nil {
		return dst, err
	}
	args, kwargs := p.Raw()
	args, kwargs = bytes.TrimSpace(args), bytes.TrimSpace(kwargs)
	out := appendTopic(append(dst, `{"topic":`...), e.Topic)
	switch {
	case serialize.Len(p) == 1:
		out = append(append(out, `,"value":`...), bytes.TrimSpace(args[1:len(args)-1])...)
	case len(args) == 0:
		out = append(out, `,"args":[]`...)
	default:
		out = append(append(out, `,"args":`...), args...)
	}
	if rest := bytes.TrimLeft(bytes.TrimPrefix(kwargs, []byte("{")), " \t\r\n"); len(rest) > 1 {
		return append(append(out, ','), rest...), nil
	}
	return append(out, '}'), nil
}

// appendTopic appends a topic as JSON. A URI may have quotes and backslashes, but no
// controls.
func appendTopic(dst []byte, topic wamp.URI) []byte {
	dst = append(dst, '"')
	for i := range len(topic) {
		if c := topic[i]; c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, topic[i])
	}
	return append(dst, '"')
}

// ErrorJSON returns the answer to a call that has failed: {"error": URI, "args": [...], "kwargs": {...}}.
func ErrorJSON(err error) []byte {
	out := struct {
		Error  string          `json:"error"`
		Args   json.RawMessage `json:"args,omitempty"`
		Kwargs json.RawMessage `json:"kwargs,omitempty"`
	}{Error: string(wamp.ErrURIRuntimeError)}
	var e *wamp.Error
	if errors.As(err, &e) {
		out.Error = string(e.URI)
		if p, err := serialize.Encode(wamp.JSON, e.Payload); err == nil {
			out.Args, out.Kwargs = p.Raw()
		}
	}
	b, err := json.Marshal(out)
	if err != nil {
		return []byte(`{"error":"` + string(wamp.ErrURIRuntimeError) + `"}`)
	}
	return b
}
