package conformance

import (
	"errors"
	"fmt"
	"math/bits"
)

// inflater reads DEFLATE (RFC 1951) slowly and strictly: it knows how far back
// the compressor may refer, which a window of full size would not show.
type inflater struct {
	window int  // farthest distance allowed
	keeps  bool // later messages may refer to earlier ones
	past   []byte

	in   []byte
	pos  int    // next octet of in
	hold uint32 // bits taken from in and not used yet, the next one lowest
	have uint   // how many they are
	out  []byte
}

var errDeflate = errors.New("compressed message is damaged")

// message inflates the payload of one message, which lacks the end of its last
// block (RFC 7692, 7.2.2).
func (f *inflater) message(payload []byte) (out []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			if r != any(errDeflate) {
				panic(r)
			}
			err = fmt.Errorf("%w near octet %d of %d", errDeflate, f.pos, len(payload))
		}
	}()
	if !f.keeps {
		f.past = nil
	}
	f.in, f.pos, f.hold, f.have = append(append([]byte(nil), payload...), tail...), 0, 0, 0
	f.out = append([]byte(nil), f.past...)
	for f.pos < len(f.in) || f.have > 0 {
		if f.block() {
			break
		}
	}
	out = f.out[len(f.past):]
	f.past = f.out[max(0, len(f.out)-f.window):]
	return out, nil
}

// fill takes octets until n bits are held, up to 24, or there are no more.
func (f *inflater) fill(n uint) {
	for f.have < n && f.pos < len(f.in) {
		f.hold |= uint32(f.in[f.pos]) << f.have
		f.have += 8
		f.pos++
	}
}

func (f *inflater) bits(n uint) int {
	f.fill(n)
	if f.have < n {
		panic(errDeflate)
	}
	v := f.hold & (1<<n - 1)
	f.hold >>= n
	f.have -= n
	return int(v)
}

// block inflates one block and reports whether it says it is the last.
func (f *inflater) block() bool {
	final := f.bits(1) == 1
	switch f.bits(2) {
	case 0:
		f.stored()
	case 1:
		f.coded(fixedLengths, fixedDistances)
	case 2:
		f.coded(f.tables())
	default:
		panic(errDeflate)
	}
	return final
}

func (f *inflater) stored() {
	f.bits(f.have % 8) // up to the next octet
	n := f.bits(16)
	if f.bits(16) != n^0xFFFF {
		panic(errDeflate)
	}
	f.pos -= int(f.have / 8) // octets that are held are not used yet
	f.hold, f.have = 0, 0
	if f.pos+n > len(f.in) {
		panic(errDeflate)
	}
	f.out = append(f.out, f.in[f.pos:f.pos+n]...)
	f.pos += n
}

// huffman is a canonical code: how many symbols have each length, and the symbols
// in the order of their codes.
type huffman struct {
	count   [16]int
	symbols []int
	short   [1 << shortCode]uint16 // symbol and length of the code that the index ends in; 0 if it is longer
}

// shortCode is how many bits are looked up at once.
const shortCode = 9

func newHuffman(lengths []int) *huffman {
	h := &huffman{}
	code := 0
	for n := 1; n < 16; n++ {
		for s, l := range lengths {
			if l != n {
				continue
			}
			h.symbols = append(h.symbols, s)
			h.count[n]++
			if n <= shortCode {
				step := 1 << n
				for i := int(bits.Reverse16(uint16(code)) >> (16 - n)); i < len(h.short); i += step {
					h.short[i] = uint16(s<<4 | n)
				}
			}
			code++
		}
		code <<= 1
	}
	return h
}

func (f *inflater) symbol(h *huffman) int {
	f.fill(15)
	if s := h.short[f.hold&(1<<shortCode-1)]; s != 0 && uint(s&15) <= f.have {
		f.hold >>= s & 15
		f.have -= uint(s & 15)
		return int(s >> 4)
	}
	code, first, index := 0, 0, 0
	for n := 1; n < 16; n++ {
		code |= f.bits(1)
		if code-first < h.count[n] {
			return h.symbols[index+code-first]
		}
		index += h.count[n]
		first = (first + h.count[n]) << 1
		code <<= 1
	}
	panic(errDeflate)
}

// Bases and extra bits of lengths and distances (RFC 1951, 3.2.5).
var (
	lengthBase    = []int{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra   = []uint{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distanceBase  = []int{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distanceExtra = []uint{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
	lengthOrder   = []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

	fixedLengths, fixedDistances = fixed()
)

// fixed are the codes of blocks without tables of their own (RFC 1951, 3.2.6).
func fixed() (lengths, distances *huffman) {
	l := make([]int, 288)
	for s := range l {
		switch {
		case s < 144:
			l[s] = 8
		case s < 256:
			l[s] = 9
		case s < 280:
			l[s] = 7
		default:
			l[s] = 8
		}
	}
	d := make([]int, 30)
	for s := range d {
		d[s] = 5
	}
	return newHuffman(l), newHuffman(d)
}

// tables reads the codes of a block (RFC 1951, 3.2.7).
func (f *inflater) tables() (lengths, distances *huffman) {
	nl, nd, nc := f.bits(5)+257, f.bits(5)+1, f.bits(4)+4
	l := make([]int, 19)
	for i := range nc {
		l[lengthOrder[i]] = f.bits(3)
	}
	code := newHuffman(l)
	all := make([]int, 0, nl+nd)
	for len(all) < nl+nd {
		switch s := f.symbol(code); {
		case s < 16:
			all = append(all, s)
		case s == 16 && len(all) > 0:
			all = repeat(all, all[len(all)-1], 3+f.bits(2))
		case s == 17:
			all = repeat(all, 0, 3+f.bits(3))
		case s == 18:
			all = repeat(all, 0, 11+f.bits(7))
		default:
			panic(errDeflate)
		}
	}
	if len(all) > nl+nd {
		panic(errDeflate)
	}
	return newHuffman(all[:nl]), newHuffman(all[nl:])
}

func repeat(list []int, v, n int) []int {
	for range n {
		list = append(list, v)
	}
	return list
}

// coded inflates what a block of Huffman codes has.
func (f *inflater) coded(lengths, distances *huffman) {
	for {
		s := f.symbol(lengths)
		switch {
		case s < 256:
			f.out = append(f.out, byte(s))
			continue
		case s == 256:
			return
		case s > 285:
			panic(errDeflate)
		}
		n := lengthBase[s-257] + f.bits(lengthExtra[s-257])
		d := f.symbol(distances)
		if d > 29 {
			panic(errDeflate)
		}
		back := distanceBase[d] + f.bits(distanceExtra[d])
		if back > f.window || back > len(f.out) || len(f.out) > largest {
			panic(errDeflate)
		}
		for range n {
			f.out = append(f.out, f.out[len(f.out)-back])
		}
	}
}
