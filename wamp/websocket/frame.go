package websocket

import (
	"encoding/binary"
	"math/rand/v2"
)

// Kind is the kind of a message, the opcode of its first frame (RFC 6455, 5.2).
type Kind byte

// The kinds of data messages, and the control frames.
const (
	Text   Kind = 1
	Binary Kind = 2

	opClose Kind = 8
	opPing  Kind = 9
	opPong  Kind = 10
)

const (
	finBit      = 0x80
	maskBit     = 0x80
	shortLength = 125   // longest payload whose length fits the second byte
	midLength   = 65535 // longest payload with a 16-bit length
)

// headerSize is the size of the header of an unmasked frame of n bytes.
func headerSize(n int) int {
	switch {
	case n <= shortLength:
		return 2
	case n <= midLength:
		return 4
	}
	return 10
}

// AppendFrame appends one unmasked frame, as a server sends it, whose payload
// build appends. hint is the payload's likely size; a wrong one costs a move of
// the payload.
func AppendFrame(dst []byte, kind Kind, hint int, build func(dst []byte) ([]byte, error)) ([]byte, error) {
	return appendFrame(dst, kind, hint, false, build)
}

func appendFrame(dst []byte, kind Kind, hint int, masked bool, build func([]byte) ([]byte, error)) ([]byte, error) {
	start := len(dst)
	extra := 0
	if masked {
		extra = 4
	}
	var room [14]byte
	reserved := headerSize(hint) + extra
	b, err := build(append(dst, room[:reserved]...))
	if err != nil {
		return dst, err
	}
	n := len(b) - start - reserved
	if size := headerSize(n) + extra; size != reserved {
		// The hint was wrong: the payload moves to where it belongs.
		if size > reserved {
			b = append(b, room[:size-reserved]...)
		}
		copy(b[start+size:], b[start+reserved:start+reserved+n])
		b = b[:start+size+n]
		reserved = size
	}
	putHeader(b[start:], kind, n, masked)
	if masked {
		mask := b[start+reserved-4 : start+reserved]
		binary.NativeEndian.PutUint32(mask, rand.Uint32())
		applyMask(mask, b[start+reserved:])
	}
	return b, nil
}

func putHeader(b []byte, kind Kind, n int, masked bool) {
	b[0] = finBit | byte(kind)
	switch {
	case n <= shortLength:
		b[1] = byte(n)
	case n <= midLength:
		b[1] = 126
		binary.BigEndian.PutUint16(b[2:], uint16(n))
	default:
		b[1] = 127
		binary.BigEndian.PutUint64(b[2:], uint64(n))
	}
	if masked {
		b[1] |= maskBit
	}
}

// applyMask masks b in place, eight bytes at a time (RFC 6455, 5.3).
func applyMask(mask, b []byte) {
	m := uint64(binary.LittleEndian.Uint32(mask))
	m |= m << 32
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^m)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= mask[i&3]
	}
}
