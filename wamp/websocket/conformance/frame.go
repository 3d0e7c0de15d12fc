package conformance

import (
	"encoding/binary"
	"fmt"
	"io"
	"unicode/utf8"
)

// Opcodes (RFC 6455, 5.2).
const (
	opMore   = 0
	opText   = 1
	opBinary = 2
	opClose  = 8
	opPing   = 9
	opPong   = 10
)

// Bits of a frame's first octet.
const (
	fin  = 0x80
	rsv1 = 0x40
	rsv2 = 0x20
	rsv3 = 0x10
)

// frame is a frame to be written as it says, right or wrong.
type frame struct {
	head    byte // FIN, RSV1 to RSV3 and the opcode
	payload []byte
	// announced, if not 0, is the length that the header tells in place of the
	// payload's, and wide the form of the length: 0 for the shortest, 2 or 8 octets.
	announced uint64
	wide      int
	// wrongMask masks where the role forbids it, and does not where it demands it.
	wrongMask bool
}

// keys are the masking keys, one after the other: zero, extremes and plain ones.
var keys = [][4]byte{{0x12, 0x34, 0x56, 0x78}, {}, {0xFF, 0xFF, 0xFF, 0xFF}, {0x80, 0x00, 0x00, 0x01}, {0xA5, 0x5A, 0x3C, 0xC3}}

// encode returns the octets of f, masked with key unless that is nil.
func (f frame) encode(key *[4]byte) []byte {
	n := uint64(len(f.payload))
	if f.announced != 0 {
		n = f.announced
	}
	b := []byte{f.head, 0}
	switch {
	case f.wide == 8 || f.wide == 0 && n > 0xFFFF:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, n)
	case f.wide == 2 || n > 125:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] = byte(n)
	}
	if key == nil {
		return append(b, f.payload...)
	}
	b[1] |= 0x80
	b = append(b, key[:]...)
	n = uint64(len(b))
	b = append(b, f.payload...)
	mask(*key, b[n:])
	return b
}

// mask applies a key in place.
func mask(key [4]byte, b []byte) {
	for i := range b {
		b[i] ^= key[i%4]
	}
}

// largest bounds what is read.
const largest = 1 << 26

// readFrame reads one frame, strictly: masked or not as told, its length in the
// shortest form.
func readFrame(r io.Reader, masked bool) (head byte, payload []byte, err error) {
	var h [2]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(h[1] & 0x7F)
	if n >= 126 {
		long := make([]byte, 2+6*(n-126))
		if _, err := io.ReadFull(r, long); err != nil {
			return 0, nil, unexpected(err)
		}
		least := uint64(126)
		if n == 127 {
			n, least = binary.BigEndian.Uint64(long), 1<<16
		} else {
			n = uint64(binary.BigEndian.Uint16(long))
		}
		if n < least || n > largest {
			return 0, nil, fmt.Errorf("a length of %d is told in %d octets", n, len(long))
		}
	}
	if got := h[1]&0x80 != 0; got != masked {
		return 0, nil, fmt.Errorf("frame 0x%02x is masked: %v, expected %v", h[0], got, masked)
	}
	var key [4]byte
	if masked {
		if _, err := io.ReadFull(r, key[:]); err != nil {
			return 0, nil, unexpected(err)
		}
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, unexpected(err)
	}
	if masked {
		mask(key, payload)
	}
	return h[0], payload, nil
}

// unexpected tells an end within a frame from one between frames.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// closing returns the payload of a close frame.
func closing(code uint16, reason string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, code), reason...)
}

// closed is a close frame as it was received.
type closed struct {
	code   uint16 // noStatus if there was none
	reason string
}

// noStatus is how a close frame without a code is reported (RFC 6455, 7.4.1).
const noStatus = 1005

// parseClose checks what a close frame carries.
func parseClose(payload []byte) (closed, error) {
	if len(payload) == 0 {
		return closed{code: noStatus}, nil
	}
	if len(payload) == 1 {
		return closed{}, fmt.Errorf("close frame with one octet")
	}
	c := closed{code: binary.BigEndian.Uint16(payload), reason: string(payload[2:])}
	if !sendable(c.code) {
		return c, fmt.Errorf("close frame with code %d", c.code)
	}
	if !utf8.ValidString(c.reason) {
		return c, fmt.Errorf("close frame whose reason %q is not UTF-8", c.reason)
	}
	return c, nil
}

// sendable reports whether a close frame may carry a code: those of the IANA
// registry that are not reserved, and the ranges of libraries and applications.
func sendable(code uint16) bool {
	switch {
	case code == 1004, code == 1005, code == 1006, code == 1015:
		return false
	}
	return code >= 1000 && code <= 1015 || code >= 3000 && code <= 4999
}
