package auth

import (
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"gantry/wamp"
)

// text returns a text attribute; an absent or null one is "". ok is false for
// another type.
func text(d wamp.Dict, key string) (s string, ok bool) {
	v := d[key]
	if v == nil {
		return "", true
	}
	s, ok = v.(string)
	return s, ok
}

// number returns an integer attribute. JSON peers may write 4096.0.
func number(d wamp.Dict, key string) (uint32, error) {
	var n float64
	switch v := d[key].(type) {
	case int:
		n = float64(v)
	case int64:
		n = float64(v)
	case uint64:
		n = float64(v)
	case float64:
		n = v
	default:
		return 0, fmt.Errorf("%s is missing or no number", key)
	}
	if !(n >= 0 && n <= math.MaxUint32) || n != math.Trunc(n) {
		return 0, fmt.Errorf("%s is out of range", key)
	}
	return uint32(n), nil
}

func dict(d wamp.Dict, key string) (wamp.Dict, bool) {
	v := d[key]
	if v == nil {
		return nil, true
	}
	m, ok := v.(wamp.Dict)
	return m, ok
}

// maxAuthID is the longest authid in bytes.
const maxAuthID = 256

// validAuthID refuses what would be a trap in logs and in SCRAM's messages.
func validAuthID(s string) bool {
	return s != "" && len(s) <= maxAuthID && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
