// Package packet reads and writes the control packets of MQTT 3.1, 3.1.1 and 5, with
// peers that are not trusted: sizes are checked before memory is reserved, every
// length inside a packet before it is believed.
//
// Sources: MQTT Version 3.1.1 and MQTT Version 5.0, OASIS Standards; the rules are
// cited by their numbers there, as MQTT-2.2.2-1.
package packet

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// FormError tells of bytes that are no MQTT packet or break a rule that the
// packet's form is bound to.
type FormError struct {
	Text string // what is wrong
	Code byte   // reason code of MQTT 5
}

// Error returns the text.
func (e *FormError) Error() string { return "malformed packet: " + e.Text }

// ErrTooLarge tells of a packet that is over the limit. Nothing of it was read
// behind the fixed header.
var ErrTooLarge = errors.New("packet is larger than allowed")

func malformed(format string, args ...any) error {
	return &FormError{Text: fmt.Sprintf(format, args...), Code: MalformedPacket}
}

// Frame is one packet that has been read but not decoded.
type Frame struct {
	First byte   // type in the high four bits, flags in the low ones
	Body  []byte // variable header and payload
}

// Type returns the packet's type, one of the constants TypeConnect to TypeAuth.
func (f Frame) Type() byte { return f.First >> 4 }

// Name returns the type's name, for messages.
func (f Frame) Name() string {
	return packetNames[f.Type()]
}

var packetNames = [16]string{
	"packet type 0", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK",
	"UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
}

// firstChunk is how much memory a peer gets on its word alone; more is reserved
// as the bytes arrive.
const firstChunk = 4 << 10

// Read reads the rest of the packet that begins with the byte first, which has
// been read already. A body of more than limit bytes is refused with ErrTooLarge. buf is
// memory for the body, which is used if large enough; the result aliases it or
// memory of its own. claim, if not nil, is told how long the body is before it is
// read; its error ends the reading. Other errors are a *FormError or those of r.
func Read(r *bufio.Reader, first byte, limit int, buf []byte, claim func(n int) error) (Frame, error) {
	n, err := readLength(r)
	if err != nil {
		return Frame{}, err
	}
	if err := checkFlags(first, V5); err != nil {
		return Frame{}, err
	}
	if n > limit {
		return Frame{}, ErrTooLarge
	}
	if claim != nil {
		if err := claim(n); err != nil {
			return Frame{}, err
		}
	}
	body := buf[:0]
	for len(body) < n {
		if len(body) == cap(body) {
			body = append(make([]byte, 0, min(n, max(firstChunk, 2*cap(body)))), body...)
		}
		m, err := r.Read(body[len(body):min(n, cap(body))])
		body = body[:len(body)+m]
		if err != nil && len(body) < n {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return Frame{}, err
		}
	}
	return Frame{first, body}, nil
}

// readLength reads the remaining length: 1 to 4 bytes of 7 bits each (2.2.3).
func readLength(r *bufio.Reader) (int, error) {
	n := 0
	for shift := 0; shift < 28; shift += 7 {
		c, err := r.ReadByte()
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		n |= int(c&0x7f) << shift
		if c < 0x80 {
			return n, nil
		}
	}
	return 0, malformed("the remaining length has more than 4 bytes")
}
