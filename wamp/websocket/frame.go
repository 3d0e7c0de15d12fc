package websocket

import (
	"encoding/binary"
	"math/rand/v2"
)

// Opcode is the type of a frame (RFC 6455, 5.2).
type Opcode byte

// The opcodes of whole messages.
const (
	Text   Opcode = 1
	Binary Opcode = 2
	Close  Opcode = 8
	Ping   Opcode = 9
	Pong   Opcode = 10
)

// The close codes (RFC 6455, 7.4.1).
const (
	CloseNormal          = 1000
	CloseGoingAway       = 1001
	CloseProtocolError   = 1002
	CloseUnsupportedData = 1003
	CloseNoStatus        = 1005
	CloseAbnormal        = 1006
	CloseInvalidPayload  = 1007
	ClosePolicyViolation = 1008
	CloseTooBig          = 1009
	CloseInternalError   = 1011
)

// Sizes of frames.
const (
	// MaxHeader is the longest frame header, that of a masked frame of 64 KiB or more.
	MaxHeader = 14
	// MaxControl is the largest payload of a close, ping or pong frame (RFC 6455, 5.5).
	MaxControl = 125
)

const (
	finalBit = 0x80
	maskBit  = 0x80
)

// HeaderLen returns the length of the header of a frame with n bytes of payload.
func HeaderLen(n int, masked bool) int {
	h := 2
	switch {
	case n >= 1<<16:
		h = 10
	case n > MaxControl:
		h = 4
	}
	if masked {
		h += 4
	}
	return h
}

// HeaderSize returns the length of the header of the frame that b begins, which
// is one of PutHeader's.
func HeaderSize(b []byte) int {
	h := 2
	switch b[1] &^ maskBit {
	case 126:
		h = 4
	case 127:
		h = 10
	}
	if b[1]&maskBit != 0 {
		h += 4
	}
	return h
}

// PutHeader writes the header of a frame that is a whole message with n bytes of
// payload to b, which has HeaderLen(n, key != nil) bytes or more, and returns its
// length. Frames from a client must have a key, those from a server must not.
func PutHeader(b []byte, op Opcode, n int, key *[4]byte) int {
	b[0] = finalBit | byte(op)
	h := 2
	switch {
	case n >= 1<<16:
		b[1] = 127
		binary.BigEndian.PutUint64(b[2:], uint64(n))
		h = 10
	case n > MaxControl:
		b[1] = 126
		binary.BigEndian.PutUint16(b[2:], uint16(n))
		h = 4
	default:
		b[1] = byte(n)
	}
	if key != nil {
		b[1] |= maskBit
		h += copy(b[h:], key[:])
	}
	return h
}

// NewMaskKey returns an unpredictable masking key (RFC 6455, 5.3).
func NewMaskKey() (key [4]byte) {
	binary.LittleEndian.PutUint32(key[:], rand.Uint32())
	return key
}

// Mask applies key to a payload from its first byte, in place. Doing it twice
// restores the payload.
func Mask(key [4]byte, b []byte) {
	k := uint64(binary.LittleEndian.Uint32(key[:]))
	k |= k << 32
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^k)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= key[i&3]
	}
}

// ClosePayload returns the payload of a close frame. The reason is cut to what
// fits. Code CloseNoStatus yields an empty payload.
func ClosePayload(code int, reason string) []byte {
	if code == CloseNoStatus {
		return nil
	}
	for len(reason) > MaxControl-2 {
		reason = cutRune(reason, MaxControl-2)
	}
	b := make([]byte, 2, 2+len(reason))
	binary.BigEndian.PutUint16(b, uint16(code))
	return append(b, reason...)
}

// cutRune shortens s to at most n bytes without splitting a character.
func cutRune(s string, n int) string {
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

// FrameHeader is the header of a frame (RFC 6455, 5.2).
type FrameHeader struct {
	Final  bool   // the last frame of its message
	Opcode Opcode // 0 for a continuation; with the reserved bits, such as Deflated
	Masked bool
	Length uint64 // of the payload in bytes
}

// parseHeader returns the header that b begins with.
func parseHeader(b []byte) FrameHeader {
	h := FrameHeader{Final: b[0]&finalBit != 0, Opcode: Opcode(b[0] &^ finalBit), Masked: b[1]&maskBit != 0}
	switch n := b[1] &^ maskBit; n {
	case 126:
		h.Length = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		h.Length = binary.BigEndian.Uint64(b[2:])
	default:
		h.Length = uint64(n)
	}
	return h
}
