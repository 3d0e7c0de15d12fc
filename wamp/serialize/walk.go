package serialize

import (
	"math"
	"unicode/utf8"

	"gantry/wamp"
)

// kind classifies an item of any format.
type kind uint8

const (
	kindNull kind = iota
	kindFalse
	kindTrue
	kindUint    // n is the value
	kindInt     // negative; n is the value as int64 bits
	kindFloat32 // n is the value as IEEE 754 bits
	kindFloat64
	kindText
	kindBytes
	kindList
	kindDict
	kindTag   // CBOR only: belongs to the item behind it
	kindBreak // CBOR only: ends an indefinite length
	kindOther // n bytes that only their own format has a meaning for
)

// indefinite stands in the place of a length that is not known beforehand
// (RFC 8949, 3.2).
const indefinite = math.MaxUint64

// walk proves values well formed and finds their ends, without decoding them and
// without recursion. It is memory to be used again, not state: set the limits
// before each use.
type walk struct {
	depth    int // nesting allowed, <= maxDepth
	elements int // items still allowed; shared by the walks of one message

	// When record is set, sizes receives the number of items of each container
	// whose head does not tell it (JSON: all, CBOR: indefinite ones), in the
	// order of their heads. MsgPack and CBOR want to write it first.
	record bool
	sizes  []uint32

	size [maxDepth]int32  // per level: index into sizes
	left [maxDepth]uint64 // per outer level: what binary kept in left
}

// limit sets the limits for the walks to come.
func (w *walk) limit(depth, elements int) { w.depth, w.elements = depth, elements }

// value proves the value of format f at i and returns the index behind it, or
// where the fault is.
func (w *walk) value(f wamp.Format, b []byte, i int) (int, error) {
	if f == wamp.JSON {
		return w.json(b, i)
	}
	return w.binary(f, b, i)
}

// whole proves that b is exactly one value.
func (w *walk) whole(f wamp.Format, b []byte) (int, error) {
	i, err := w.value(f, b, 0)
	if err != nil {
		return i, err
	}
	if f == wamp.JSON {
		i = skipSpace(b, i)
	}
	if i != len(b) {
		return i, errTrailing
	}
	return i, nil
}

// open notes that a container without known size begins at level.
func (w *walk) open(level int) {
	if w.record {
		w.size[level] = int32(len(w.sizes))
		w.sizes = append(w.sizes, 0)
	}
}

// item counts one more item in the container without known size at level.
func (w *walk) item(level int) bool {
	if w.record {
		w.sizes[w.size[level]]++
	}
	w.elements--
	return w.elements >= 0
}

// head reads the head of the item of a binary format at i.
func head(f wamp.Format, b []byte, i int) (kind, uint64, int, error) {
	if f == wamp.MsgPack {
		return msgpackHead(b, i)
	}
	return cborHead(b, i)
}

// binary is value for MsgPack and CBOR, which differ in their heads and in that
// only CBOR has tags, breaks and indefinite lengths. It is one loop, longer than
// usual, because its state would be a struct of pointers otherwise.
func (w *walk) binary(f wamp.Format, b []byte, i int) (int, error) {
	var (
		dicts uint64 // bit per level, innermost lowest: map
		opens uint64 // the same: indefinite length
		left  uint64 // items due at this level, 2 per pair; indefinite: 1 when a map's value is due
		depth int
	)
	for {
		k, n, next, err := head(f, b, i)
		if err != nil {
			return i, err
		}
		if dicts&1 == 1 && left&1 == 0 && k != kindText && k != kindBreak {
			return i, errKey
		}
		switch k {
		case kindText, kindBytes:
			if next, err = skipBlob(b, next, k, n); err != nil {
				return i, err
			}
		case kindOther:
			if n > uint64(len(b)-next) {
				return i, errLength
			}
			next += int(n)
		case kindList, kindDict, kindTag:
			if depth == w.depth {
				return i, errDepth
			}
			if n == 0 {
				break
			}
			if next >= len(b) || n != indefinite && n > uint64(len(b)-next) {
				return i, errLength // each item takes a byte at least
			}
			w.left[depth] = left
			dicts, opens, left = dicts<<1, opens<<1, n
			switch {
			case n == indefinite:
				w.open(depth)
				opens, left = opens|1, 0
			case k != kindTag:
				if w.elements -= int(n); w.elements < 0 {
					return i, errElements
				}
			}
			if k == kindDict {
				dicts |= 1
				left *= 2
			}
			depth++
			i = next
			continue
		case kindBreak:
			if opens&1 == 0 || left&1 == 1 {
				return i, errCBORBreak
			}
			depth--
			left, dicts, opens = w.left[depth], dicts>>1, opens>>1
		}
		i = next
		// An item is complete, and with it each container that it was the last of.
		for depth > 0 {
			if opens&1 == 1 {
				left ^= dicts & 1
				if left == 0 && !w.item(depth-1) {
					return i, errElements
				}
				break
			}
			if left--; left > 0 {
				break
			}
			depth--
			left, dicts, opens = w.left[depth], dicts>>1, opens>>1
		}
		if depth == 0 {
			return i, nil
		}
	}
}

// skipBlob proves the n bytes or the chunks of a text or byte string at i.
func skipBlob(b []byte, i int, k kind, n uint64) (int, error) {
	if n == indefinite {
		return skipChunks(b, i, k)
	}
	if n > uint64(len(b)-i) {
		return i, errLength
	}
	end := i + int(n)
	if k == kindText && !utf8.Valid(b[i:end]) {
		return i, errUTF8
	}
	return end, nil
}
