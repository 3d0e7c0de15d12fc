package router

import "gantry/wamp"

// passesThrough reports whether a message is in payload passthru mode
// (AP "Payload Passthru Mode"), which its scheme tells. What it carries is then
// between its two ends and not looked at.
func passesThrough(p *wamp.Passthru) bool { return p != nil && p.Scheme != "" }

// passedOn returns the details of a callee's ERROR that its caller gets.
func passedOn(d wamp.Dict) wamp.Dict {
	var out wamp.Dict
	for _, key := range [...]string{"ppt_scheme", "ppt_serializer", "ppt_cipher", "ppt_keyid"} {
		if text, ok := d[key].(string); ok {
			if out == nil {
				out = wamp.Dict{}
			}
			out[key] = text
		}
	}
	return out
}
