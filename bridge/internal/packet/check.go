package packet

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// checkFlags refuses unknown types and reserved flags that are not as the
// standard fixes them (MQTT-2.2.2-1, MQTT-2.2.2-2).
func checkFlags(first, version byte) error {
	var want byte
	switch first >> 4 {
	case TypePublish:
		if first&0x06 == 0x06 {
			return malformed("PUBLISH has QoS 3") // MQTT-3.3.1-4
		}
		if first&0x0e == 0x08 {
			return malformed("PUBLISH at QoS 0 has DUP set") // MQTT-3.3.1-2
		}
		return nil
	case TypePubrel, TypeSubscribe, TypeUnsubscribe:
		want = 2
	case 0:
		return malformed("packet type 0 is reserved")
	case TypeAuth:
		if version != V5 {
			return malformed("packet type 15 is reserved")
		}
	}
	if first&0x0f != want {
		return malformed("%s has the flags %d", Frame{First: first}.Name(), first&0x0f)
	}
	return nil
}

// Check reports whether f is a well-formed packet of MQTT 3.1 or 3.1.1, of a client or
// of a server: nil or a *FormError. Every length inside is proven to be there, and
// nothing is behind.
func Check(f Frame) error {
	c := cursor{b: f.Body}
	switch f.Type() {
	case TypeConnack:
		c.take(2)
	case TypeSuback:
		c.id()
		for _, code := range c.take(max(1, len(c.b))) {
			if code > 2 && code != 0x80 {
				c.fail("a return code is none") // MQTT-3.9.3-2
			}
		}
	case TypeUnsuback:
		c.id()
	default:
		_, err := Decode(f, V311)
		return err
	}
	if err := checkFlags(f.First, V311); err != nil {
		return err
	}
	if len(c.b) > 0 && c.err == nil {
		c.fail("bytes behind the end")
	}
	if c.err != nil {
		return malformed("%s: %s", f.Name(), c.err.(*FormError).Text)
	}
	return nil
}

// Protocol returns the protocol name and level that open a CONNECT, so that a
// client of another version can be told. ok is false if they are not there.
func Protocol(connect Frame) (name string, level byte, ok bool) {
	c := cursor{b: connect.Body}
	n := c.bytes()
	l := c.take(1)
	if c.err != nil {
		return "", 0, false
	}
	return string(n), l[0], true
}

// cursor walks over a body. After a fault nothing is left to walk over.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(text string) { c.failWith(text, MalformedPacket) }

// failProtocol tells of what is well formed and not allowed.
func (c *cursor) failProtocol(text string) { c.failWith(text, ProtocolError) }

func (c *cursor) failWith(text string, code byte) {
	if c.err == nil {
		c.err = &FormError{Text: text, Code: code}
	}
	c.b = nil
}

func (c *cursor) take(n int) []byte {
	if len(c.b) < n || c.err != nil {
		c.fail("ends too early")
		return nil
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) bytes() []byte {
	n := c.take(2)
	if n == nil {
		return nil
	}
	return c.take(int(binary.BigEndian.Uint16(n)))
}

// text takes a UTF-8 string (1.5.3).
func (c *cursor) text() []byte {
	b := c.bytes()
	if !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
		c.fail("a text is not UTF-8 or holds NUL") // MQTT-1.5.3-1, MQTT-1.5.3-2
	}
	return b
}

// topic takes a topic name: at least one character, unless there may be an alias, and
// no wildcards (MQTT-3.3.2-2, MQTT-4.7.1-1, MQTT-4.7.3-1).
func (c *cursor) topic(alias bool) string {
	b := c.text()
	if c.err == nil && (len(b) == 0 && !alias || bytes.ContainsAny(b, "+#")) {
		c.fail("a topic name is empty or has wildcards")
	}
	return string(b)
}

// filter takes a topic filter. Where its wildcards stand is not a matter of form.
func (c *cursor) filter() string {
	b := c.text()
	if c.err == nil && len(b) == 0 {
		c.fail("a topic filter is empty")
	}
	return string(b)
}

// id takes a packet identifier, which is never 0 (MQTT-2.3.1-1).
func (c *cursor) id() uint16 {
	b := c.take(2)
	if b == nil {
		return 0
	}
	id := binary.BigEndian.Uint16(b)
	if id == 0 {
		c.fail("the packet identifier is 0")
	}
	return id
}
