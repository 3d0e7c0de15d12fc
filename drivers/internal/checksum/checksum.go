// Package checksum computes the checksums of devices' protocols: CRCs of all
// parameters, sums, exclusive or.
package checksum

import "math/bits"

// Func computes a checksum of Size bytes, at most 4.
type Func struct {
	Size int
	Sum  func(b []byte) uint32
}

// CRC are the parameters of a cyclic redundancy check as the catalogue of
// parametrised CRC algorithms (reveng.sourceforge.io/crc-catalogue) gives them.
type CRC struct {
	Width  int    // bits: 8, 16, 32
	Poly   uint32 // without the highest bit
	Init   uint32
	RefIn  bool // bytes enter with their lowest bit first
	RefOut bool // the result is reflected
	XorOut uint32
}

// crcs are the named ones; names are those under which data sheets know them.
var crcs = map[string]CRC{
	"crc8":              {8, 0x07, 0x00, false, false, 0x00}, // CRC-8/SMBUS
	"crc8_itu":          {8, 0x07, 0x00, false, false, 0x55}, // CRC-8/I-432-1
	"crc8_maxim":        {8, 0x31, 0x00, true, true, 0x00},   // CRC-8/MAXIM-DOW: 1-Wire
	"crc8_sensirion":    {8, 0x31, 0xFF, false, false, 0x00}, // CRC-8/NRSC-5
	"crc8_j1850":        {8, 0x1D, 0xFF, false, false, 0xFF},
	"crc8_rohc":         {8, 0x07, 0xFF, true, true, 0x00},
	"crc16_arc":         {16, 0x8005, 0x0000, true, true, 0x0000},
	"crc16_modbus":      {16, 0x8005, 0xFFFF, true, true, 0x0000},
	"crc16_usb":         {16, 0x8005, 0xFFFF, true, true, 0xFFFF},
	"crc16_maxim":       {16, 0x8005, 0x0000, true, true, 0xFFFF},
	"crc16_ccitt_false": {16, 0x1021, 0xFFFF, false, false, 0x0000}, // CRC-16/IBM-3740
	"crc16_xmodem":      {16, 0x1021, 0x0000, false, false, 0x0000},
	"crc16_genibus":     {16, 0x1021, 0xFFFF, false, false, 0xFFFF},
	"crc16_aug_ccitt":   {16, 0x1021, 0x1D0F, false, false, 0x0000}, // CRC-16/SPI-FUJITSU
	"crc16_kermit":      {16, 0x1021, 0x0000, true, true, 0x0000},
	"crc16_mcrf4xx":     {16, 0x1021, 0xFFFF, true, true, 0x0000},
	"crc16_x25":         {16, 0x1021, 0xFFFF, true, true, 0xFFFF}, // CRC-16/IBM-SDLC
	"crc16_dnp":         {16, 0x3D65, 0x0000, true, true, 0xFFFF},
	"crc32":             {32, 0x04C11DB7, 0xFFFFFFFF, true, true, 0xFFFFFFFF}, // CRC-32/ISO-HDLC
	"crc32_jamcrc":      {32, 0x04C11DB7, 0xFFFFFFFF, true, true, 0x00000000},
	"crc32_bzip2":       {32, 0x04C11DB7, 0xFFFFFFFF, false, false, 0xFFFFFFFF},
	"crc32_mpeg2":       {32, 0x04C11DB7, 0xFFFFFFFF, false, false, 0x00000000},
	"crc32c":            {32, 0x1EDC6F41, 0xFFFFFFFF, true, true, 0xFFFFFFFF}, // CRC-32/ISCSI
}

// Names lists what Named knows, for messages.
const Names = "crc8 crc8_itu crc8_maxim crc8_sensirion crc8_j1850 crc8_rohc " +
	"crc16_arc crc16_modbus crc16_usb crc16_maxim crc16_ccitt_false crc16_xmodem crc16_genibus crc16_aug_ccitt crc16_kermit crc16_mcrf4xx crc16_x25 crc16_dnp " +
	"crc32 crc32_jamcrc crc32_bzip2 crc32_mpeg2 crc32c " +
	"xor8 sum8 sum8_ones sum8_twos sum16 sum16_ones sum16_twos"

// Named returns the checksum called name. Sums of "ones" are inverted; those of
// "twos" are negative, so that with the checksum all bytes add up to 0.
func Named(name string) (Func, bool) {
	if c, ok := crcs[name]; ok {
		return c.Func(), true
	}
	switch name {
	case "xor8":
		return Func{1, xor}, true
	case "sum8", "sum16":
		return Func{sizeOf(name), sum}.masked(), true
	case "sum8_ones", "sum16_ones":
		return Func{sizeOf(name), func(b []byte) uint32 { return ^sum(b) }}.masked(), true
	case "sum8_twos", "sum16_twos":
		return Func{sizeOf(name), func(b []byte) uint32 { return -sum(b) }}.masked(), true
	}
	return Func{}, false
}

func sizeOf(name string) int {
	if name[3] == '8' {
		return 1
	}
	return 2
}

// masked makes the result fit the size.
func (f Func) masked() Func {
	mask, inner := uint32(1)<<(8*f.Size)-1, f.Sum
	f.Sum = func(b []byte) uint32 { return inner(b) & mask }
	return f
}

func sum(b []byte) (s uint32) {
	for _, x := range b {
		s += uint32(x)
	}
	return s
}

func xor(b []byte) (s uint32) {
	for _, x := range b {
		s ^= uint32(x)
	}
	return s
}

// Func returns the CRC of these parameters; Width has been validated.
func (c CRC) Func() Func {
	shift := 32 - c.Width
	poly, start := c.Poly<<shift, c.Init<<shift
	// The register is kept as the algorithm reflected says, whichever way round the
	// bits come; only bytes and result are turned where they have to be.
	poly, start = bits.Reverse32(poly), bits.Reverse32(start)
	var table [256]uint32
	for i := range table {
		r := uint32(i)
		for range 8 {
			r = r>>1 ^ poly&-(r&1)
		}
		table[i] = r
	}
	mask := uint32(1<<c.Width - 1)
	return Func{c.Width / 8, func(b []byte) uint32 {
		r := start
		for _, x := range b {
			if !c.RefIn {
				x = bits.Reverse8(x)
			}
			r = r>>8 ^ table[byte(r)^x]
		}
		if !c.RefOut {
			r = bits.Reverse32(r) >> shift
		}
		return (r ^ c.XorOut) & mask
	}}
}
