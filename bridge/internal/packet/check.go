package packet

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// checkFlags refuses unknown types and reserved flags that are not as the
// standard fixes them (MQTT-2.2.2-1, MQTT-2.2.2-2).
func checkFlags(first byte) error {
	var want byte
	switch first >> 4 {
	case packets.Publish:
		if first&0x06 == 0x06 {
			return malformed("PUBLISH has QoS 3") // MQTT-3.3.1-4
		}
		if first&0x0e == 0x08 {
			return malformed("PUBLISH at QoS 0 has DUP set") // MQTT-3.3.1-2
		}
		return nil
	case packets.Pubrel, packets.Subscribe, packets.Unsubscribe:
		want = 2
	case 0, 15:
		return malformed("packet type %d is reserved", first>>4)
	}
	if first&0x0f != want {
		return malformed("%s has the flags %d", Frame{First: first}.Name(), first&0x0f)
	}
	return nil
}

// Check reports whether f is a well-formed packet of MQTT 3.1 or 3.1.1: nil or a
// *FormError. Every length inside is proven to be there, and nothing is behind.
func Check(f Frame) error {
	if err := checkFlags(f.First); err != nil {
		return err
	}
	c := cursor{b: f.Body}
	switch f.Type() {
	case packets.Connect:
		c.connect()
	case packets.Connack:
		c.take(2)
	case packets.Publish:
		c.publish(f.First >> 1 & 3)
	case packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp, packets.Unsuback:
		c.id()
	case packets.Subscribe:
		c.id()
		for first := true; first || len(c.b) > 0; first = false {
			c.filter()
			if b := c.take(1); len(b) == 1 && b[0] > 2 {
				c.fail("a requested QoS is above 2") // MQTT-3.8.3-4
			}
		}
	case packets.Suback:
		c.id()
		for _, code := range c.take(max(1, len(c.b))) {
			if code > 2 && code != 0x80 {
				c.fail("a return code is none") // MQTT-3.9.3-2
			}
		}
	case packets.Unsubscribe:
		c.id()
		for first := true; first || len(c.b) > 0; first = false {
			c.filter()
		}
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

func (c *cursor) fail(text string) {
	if c.err == nil {
		c.err = &FormError{Text: text}
	}
	c.b = nil
}

func (c *cursor) take(n int) []byte {
	if len(c.b) < n {
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

// topic takes a topic name: at least one character, no wildcards
// (MQTT-3.3.2-2, MQTT-4.7.1-1, MQTT-4.7.3-1).
func (c *cursor) topic() {
	b := c.text()
	if c.err == nil && (len(b) == 0 || bytes.ContainsAny(b, "+#")) {
		c.fail("a topic name is empty or has wildcards")
	}
}

// filter takes a topic filter. Where its wildcards stand is not a matter of form.
func (c *cursor) filter() {
	if b := c.text(); c.err == nil && len(b) == 0 {
		c.fail("a topic filter is empty")
	}
}

// id takes a packet identifier, which is never 0 (MQTT-2.3.1-1).
func (c *cursor) id() {
	if b := c.take(2); b != nil && b[0]|b[1] == 0 {
		c.fail("the packet identifier is 0")
	}
}

func (c *cursor) publish(qos byte) {
	c.topic()
	if qos > 0 {
		c.id()
	}
	c.b = nil
}

// connect walks over CONNECT (3.1).
func (c *cursor) connect() {
	c.text()
	c.take(1)
	flags := c.take(1)
	c.take(2)
	if c.err != nil {
		return
	}
	const (
		reserved = 1 << 0
		will     = 1 << 2
		willQoS  = 3 << 3
		retain   = 1 << 5
		password = 1 << 6
		user     = 1 << 7
	)
	switch f := flags[0]; {
	case f&reserved != 0: // MQTT-3.1.2-3
		c.fail("the reserved flag is set")
	case f&will == 0 && f&(willQoS|retain) != 0: // MQTT-3.1.2-13, MQTT-3.1.2-15
		c.fail("will flags without a will")
	case f&willQoS == willQoS: // MQTT-3.1.2-14
		c.fail("the will has QoS 3")
	case f&user == 0 && f&password != 0: // MQTT-3.1.2-22
		c.fail("a password without a user name")
	default:
		c.text() // client identifier
		if f&will != 0 {
			c.topic()
			c.bytes()
		}
		if f&user != 0 {
			c.text()
		}
		if f&password != 0 {
			c.bytes()
		}
	}
}
