package serialize

import (
	"encoding/binary"
	"math"
	"unicode/utf8"
)

const (
	errCBORBreak  = fault("break outside of an indefinite length")
	errCBORHead   = fault("reserved item head")
	errCBORSimple = fault("simple value without meaning")
	errCBORBignum = fault("bignum that is no byte string of known length")
	errCBORChunk  = fault("chunk of another type")
)

// cborHead reads the head at i: the kind, its number, length or tag, and the
// index behind the head (RFC 8949, 3). A tag has 1 as its number: the one item
// behind it.
func cborHead(b []byte, i int) (kind, uint64, int, error) {
	if i >= len(b) {
		return 0, 0, i, errTruncated
	}
	major, info := b[i]>>5, b[i]&31
	i++
	n := uint64(info)
	if info >= 24 {
		if info == 31 {
			return cborIndefinite(major, i)
		}
		if info > 27 {
			return 0, 0, i, errCBORHead
		}
		size := 1 << (info - 24)
		if len(b)-i < size {
			return 0, 0, i, errTruncated
		}
		n = beUint(b, i, size)
		i += size
	}
	switch major {
	case 0:
		return kindUint, n, i, nil
	case 1:
		if n > math.MaxInt64 {
			return kindOther, 0, i, nil
		}
		return kindInt, ^n, i, nil
	case 6:
		if n == 2 || n == 3 {
			return cborBignum(b, i, n == 3)
		}
		return kindTag, 1, i, nil
	case 7:
		k, n, err := cborSimple(info, n)
		return k, n, i, err
	}
	if n == indefinite {
		return 0, 0, i, errLength
	}
	return cborKinds[major], n, i, nil
}

// cborBignum reads the byte string of a bignum (RFC 8949, 3.4.3). One within the
// range of 64 bits is an integer like any other.
func cborBignum(b []byte, i int, negative bool) (kind, uint64, int, error) {
	if i >= len(b) || b[i]>>5 != 2 {
		return 0, 0, i, errCBORBignum
	}
	k, n, i, err := cborHead(b, i)
	switch {
	case err != nil:
		return 0, 0, i, err
	case k != kindBytes || n == indefinite:
		return 0, 0, i, errCBORBignum
	case n > uint64(len(b)-i):
		return 0, 0, i, errTruncated
	}
	digits := b[i : i+int(n)]
	for len(digits) > 0 && digits[0] == 0 {
		digits = digits[1:]
	}
	if len(digits) > 8 {
		return kindOther, n, i, nil
	}
	v := uint64(0)
	for _, d := range digits {
		v = v<<8 | uint64(d)
	}
	switch {
	case !negative:
		return kindUint, v, i + int(n), nil
	case v > math.MaxInt64:
		return kindOther, n, i, nil
	}
	return kindInt, ^v, i + int(n), nil
}

// cborKinds are the kinds of the major types that have a length.
var cborKinds = [8]kind{2: kindBytes, 3: kindText, 4: kindList, 5: kindDict}

func cborIndefinite(major byte, i int) (kind, uint64, int, error) {
	switch major {
	case 2, 3, 4, 5:
		return cborKinds[major], indefinite, i, nil
	case 7:
		return kindBreak, 0, i, nil
	}
	return 0, 0, i, errCBORHead
}

// cborSimple reads a head of major type 7. Undefined is null; float16 is float32,
// which holds each of its values.
func cborSimple(info byte, n uint64) (kind, uint64, error) {
	switch info {
	case 20:
		return kindFalse, 0, nil
	case 21:
		return kindTrue, 0, nil
	case 22, 23:
		return kindNull, 0, nil
	case 25:
		return kindFloat32, uint64(float16to32(uint16(n))), nil
	case 26:
		return kindFloat32, n, nil
	case 27:
		return kindFloat64, n, nil
	}
	return 0, 0, errCBORSimple
}

// float16to32 converts IEEE 754 bits from half to single precision, exactly.
func float16to32(h uint16) uint32 {
	sign := uint32(h&0x8000) << 16
	exp, frac := uint32(h>>10)&31, uint32(h)&0x3ff
	switch exp {
	case 0: // zero and subnormal: frac times 2^-24
		return sign | math.Float32bits(float32(frac)*0x1p-24)
	case 31:
		return sign | 0xff<<23 | frac<<13
	}
	return sign | (exp+112)<<23 | frac<<13
}

// skipChunks proves the chunks of a text or byte string of indefinite length.
// Each must be definite, of the same type, and, if text, valid by itself.
func skipChunks(b []byte, i int, k kind) (int, error) {
	for {
		c, n, next, err := cborHead(b, i)
		switch {
		case err != nil:
			return i, err
		case c == kindBreak:
			return next, nil
		case c != k || n == indefinite:
			return i, errCBORChunk
		case n > uint64(len(b)-next):
			return i, errLength
		}
		i = next + int(n)
		if k == kindText && !utf8.Valid(b[next:i]) {
			return next, errUTF8
		}
	}
}

// appendChunks appends the contents of the proven chunks at i to dst.
func appendChunks(dst, b []byte, i int) ([]byte, int) {
	for {
		c, n, next, err := cborHead(b, i)
		if err != nil || c == kindBreak {
			return dst, next
		}
		i = next + int(n)
		dst = append(dst, b[next:i]...)
	}
}

// appendCBORHead appends the shortest head for a number, length or count.
func appendCBORHead(b []byte, k kind, n uint64) []byte {
	var major byte
	switch k {
	case kindInt:
		major, n = 1<<5, ^n
	case kindBytes:
		major = 2 << 5
	case kindText:
		major = 3 << 5
	case kindList:
		major = 4 << 5
	case kindDict:
		major = 5 << 5
	}
	if n < 24 {
		return append(b, major|byte(n))
	}
	return appendSized(b, major|24, n)
}

// appendFloat appends IEEE 754 bits behind the first byte of the format.
func appendFloat(b []byte, single, double byte, k kind, n uint64) []byte {
	if k == kindFloat32 {
		return binary.BigEndian.AppendUint32(append(b, single), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, double), n)
}
