package serialize

import "encoding/binary"

const errMsgPackByte = fault("byte 0xc1 is no type")

// beUint reads the size bytes (0, 1, 2, 4 or 8) of a big-endian number at i; the
// caller has made sure that they are there.
func beUint(b []byte, i, size int) uint64 {
	switch size {
	case 1:
		return uint64(b[i])
	case 2:
		return uint64(binary.BigEndian.Uint16(b[i:]))
	case 4:
		return uint64(binary.BigEndian.Uint32(b[i:]))
	case 8:
		return binary.BigEndian.Uint64(b[i:])
	}
	return 0
}

// msgpackForm says what follows a first byte from 0xc0 to 0xdf.
type msgpackForm struct {
	kind   kind
	size   uint8 // bytes of the number, or of the length
	signed bool
}

// msgpackForms is the table of the MessagePack specification, section
// "Formats"; entries of kindBreak are refused.
var msgpackForms = [32]msgpackForm{
	0x00: {kind: kindNull}, 0x01: {kind: kindBreak}, 0x02: {kind: kindFalse}, 0x03: {kind: kindTrue},
	0x04: {kindBytes, 1, false}, 0x05: {kindBytes, 2, false}, 0x06: {kindBytes, 4, false},
	0x07: {kindOther, 1, false}, 0x08: {kindOther, 2, false}, 0x09: {kindOther, 4, false},
	0x0a: {kindFloat32, 4, false}, 0x0b: {kindFloat64, 8, false},
	0x0c: {kindUint, 1, false}, 0x0d: {kindUint, 2, false}, 0x0e: {kindUint, 4, false}, 0x0f: {kindUint, 8, false},
	0x10: {kindInt, 1, true}, 0x11: {kindInt, 2, true}, 0x12: {kindInt, 4, true}, 0x13: {kindInt, 8, true},
	0x14: {kind: kindOther}, 0x15: {kind: kindOther}, 0x16: {kind: kindOther}, 0x17: {kind: kindOther}, 0x18: {kind: kindOther},
	0x19: {kindText, 1, false}, 0x1a: {kindText, 2, false}, 0x1b: {kindText, 4, false},
	0x1c: {kindList, 2, false}, 0x1d: {kindList, 4, false},
	0x1e: {kindDict, 2, false}, 0x1f: {kindDict, 4, false},
}

// msgpackHead reads the head at i: the kind, its number or length, and the index
// behind the head. It never returns kindTag or kindBreak.
func msgpackHead(b []byte, i int) (kind, uint64, int, error) {
	if i >= len(b) {
		return 0, 0, i, errTruncated
	}
	c := b[i]
	i++
	switch {
	case c < 0x80:
		return kindUint, uint64(c), i, nil
	case c < 0x90:
		return kindDict, uint64(c & 15), i, nil
	case c < 0xa0:
		return kindList, uint64(c & 15), i, nil
	case c < 0xc0:
		return kindText, uint64(c & 31), i, nil
	case c >= 0xe0:
		return kindInt, uint64(int64(int8(c))), i, nil
	}
	form := msgpackForms[c&31]
	size := int(form.size)
	if len(b)-i < size {
		return 0, 0, i, errTruncated
	}
	n := beUint(b, i, size)
	i += size
	switch {
	case form.kind == kindOther && size > 0:
		return kindOther, n + 1, i, nil // the type's byte is part of it
	case form.kind == kindOther && c == 0xd4 && len(b)-i >= 2 && b[i] == 0 && b[i+1] == 0:
		return kindNull, 0, i + 2, nil // JavaScript's undefined, as msgpackr writes it
	case form.kind == kindOther:
		return kindOther, 1<<(c-0xd4) + 1, i, nil
	case form.kind == kindBreak:
		return 0, 0, i, errMsgPackByte
	case form.signed:
		shift := 64 - 8*size
		v := int64(n<<shift) >> shift
		if v >= 0 {
			return kindUint, uint64(v), i, nil
		}
		return kindInt, uint64(v), i, nil
	}
	return form.kind, n, i, nil
}

// appendMsgPackHead appends the shortest head for a number, length or count.
func appendMsgPackHead(b []byte, k kind, n uint64) []byte {
	switch k {
	case kindUint:
		if n < 0x80 {
			return append(b, byte(n))
		}
		return appendSized(b, 0xcc, n)
	case kindInt:
		return appendMsgPackNegative(b, int64(n))
	case kindText:
		switch {
		case n < 32:
			return append(b, 0xa0|byte(n))
		case n < 1<<8:
			return append(b, 0xd9, byte(n))
		}
		return append16or32(b, 0xda, n)
	case kindBytes:
		if n < 1<<8 {
			return append(b, 0xc4, byte(n))
		}
		return append16or32(b, 0xc5, n)
	case kindList:
		if n < 16 {
			return append(b, 0x90|byte(n))
		}
		return append16or32(b, 0xdc, n)
	default:
		if n < 16 {
			return append(b, 0x80|byte(n))
		}
		return append16or32(b, 0xde, n)
	}
}

// appendSized appends n in 1, 2, 4 or 8 bytes behind the first byte code, code+1,
// code+2 or code+3.
func appendSized(b []byte, code byte, n uint64) []byte {
	switch {
	case n < 1<<8:
		return append(b, code, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, code+1), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, code+2), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, code+3), n)
}

// append16or32 appends a length behind the first byte code or code+1.
func append16or32(b []byte, code byte, n uint64) []byte {
	if n < 1<<16 {
		return binary.BigEndian.AppendUint16(append(b, code), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, code+1), uint32(n))
}

func appendMsgPackNegative(b []byte, v int64) []byte {
	switch {
	case v >= -32:
		return append(b, byte(v))
	case v >= -1<<7:
		return append(b, 0xd0, byte(v))
	case v >= -1<<15:
		return binary.BigEndian.AppendUint16(append(b, 0xd1), uint16(v))
	case v >= -1<<31:
		return binary.BigEndian.AppendUint32(append(b, 0xd2), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xd3), uint64(v))
}
