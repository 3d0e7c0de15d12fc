package bridge

import (
	"errors"
	"strings"
	"unicode/utf8"

	"gantry/wamp"
)

// MaxTopic is the longest topic or filter, in bytes, that MQTT can carry.
const MaxTopic = 65535

const upperHex = "0123456789ABCDEF"

// plain reports whether c stands for itself in a component.
func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// URIFromTopic returns the URI that stands for an MQTT topic name. It takes any
// string; different strings have different URIs, and [TopicFromURI] undoes it.
// A URI of more than wamp.MaxURILength bytes is refused by the router.
func URIFromTopic(topic string) wamp.URI {
	var b strings.Builder
	b.Grow(len(topic) + 8)
	appendLevels(&b, topic)
	return wamp.URI(b.String())
}

func appendLevels(b *strings.Builder, topic string) {
	start := 0
	for i := 0; i <= len(topic); i++ {
		if i < len(topic) && topic[i] != '/' {
			if c := topic[i]; plain(c) {
				b.WriteByte(c)
			} else {
				b.WriteByte('%')
				b.WriteByte(upperHex[c>>4])
				b.WriteByte(upperHex[c&15])
			}
			continue
		}
		if i == start {
			b.WriteByte('%')
		}
		if i < len(topic) {
			b.WriteByte('.')
		}
		start = i + 1
	}
}

// TopicFromURI returns the MQTT topic name of a URI. exact tells that the URI is
// the one that URIFromTopic makes of this topic.
//
// Other URIs, such as those with letters beyond ASCII, have a topic as well, so
// that subscribers by wildcard see their events, but an exact subscription to it
// does not reach them: a component that URIFromTopic would not have written is
// taken as it is, with the characters that a topic level cannot hold (/ + # NUL
// and bytes that are no UTF-8) as %XX. Several URIs may share such a topic.
func TopicFromURI(u wamp.URI) (topic string, exact bool) {
	s := string(u)
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == "" &&
		s != "" && s[0] != '.' && s[len(s)-1] != '.' && !strings.Contains(s, "..") {
		return strings.ReplaceAll(s, ".", "/"), true
	}
	b := make([]byte, 0, len(s))
	exact = true
	for i, component := range strings.Split(s, ".") {
		if i > 0 {
			b = append(b, '/')
		}
		n := len(b)
		var ok bool
		if b, ok = appendDecoded(b, component); !ok {
			exact = false
			b = appendLiteral(b[:n], component)
		}
	}
	return string(b), exact && len(b) > 0 && len(b) <= MaxTopic
}

// appendDecoded appends the level that component stands for; ok is false if
// URIFromTopic does not write it so.
func appendDecoded(b []byte, component string) (_ []byte, ok bool) {
	if component == "%" {
		return b, true
	}
	if component == "" {
		return b, false
	}
	n := len(b)
	for i := 0; i < len(component); i++ {
		c := component[i]
		if c == '%' {
			if i+2 >= len(component) {
				return b, false
			}
			hi, lo := strings.IndexByte(upperHex, component[i+1]), strings.IndexByte(upperHex, component[i+2])
			if hi < 0 || lo < 0 {
				return b, false
			}
			c = byte(hi<<4 | lo)
			if plain(c) || c == '/' || c == '+' || c == '#' || c == 0 {
				return b, false
			}
			i += 2
		} else if !plain(c) {
			return b, false
		}
		b = append(b, c)
	}
	return b, utf8.Valid(b[n:])
}

func appendLiteral(b []byte, component string) []byte {
	for i := 0; i < len(component); {
		r, n := utf8.DecodeRuneInString(component[i:])
		c := component[i]
		if c == '/' || c == '+' || c == '#' || c == 0 || r == utf8.RuneError && n == 1 {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		} else {
			b = append(b, component[i:i+n]...)
		}
		i += n
	}
	return b
}

// Errors of topic names and filters, from MQTT 3.1.1 sections 1.5.3 and 4.7.
var (
	errTopicLength   = errors.New("is empty or longer than 65535 bytes")
	errTopicText     = errors.New("is not UTF-8 or holds NUL")
	errTopicWildcard = errors.New("holds a wildcard, which only a filter may")
	errFilterPlus    = errors.New("has a + that does not fill its level")
	errFilterHash    = errors.New("has a # that is not the whole last level")
)

// CheckTopic reports what is wrong with s as a topic name, nil for a valid one.
// The text of the error continues a sentence: "is empty ...".
func CheckTopic(s string) error {
	if err := checkText(s); err != nil {
		return err
	}
	if strings.ContainsAny(s, "+#") {
		return errTopicWildcard
	}
	return nil
}

// oneLevel reports whether s fits into one level of a topic name.
func oneLevel(s string) bool { return !strings.ContainsAny(s, "/+#\x00") }

func checkText(s string) error {
	if s == "" || len(s) > MaxTopic {
		return errTopicLength
	}
	// MQTT-1.5.3-1, MQTT-1.5.3-2.
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return errTopicText
	}
	return nil
}
