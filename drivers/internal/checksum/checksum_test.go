package checksum_test

import (
	"hash/crc32"
	"strings"
	"testing"

	"gantry/drivers/internal/checksum"
)

// The check values of the catalogue of parametrised CRC algorithms: the checksum of
// "123456789".
var catalogue = map[string]uint32{
	"crc8": 0xF4, "crc8_itu": 0xA1, "crc8_maxim": 0xA1, "crc8_sensirion": 0xF7, "crc8_j1850": 0x4B, "crc8_rohc": 0xD0,
	"crc16_arc": 0xBB3D, "crc16_modbus": 0x4B37, "crc16_usb": 0xB4C8, "crc16_maxim": 0x44C2, "crc16_ccitt_false": 0x29B1,
	"crc16_xmodem": 0x31C3, "crc16_genibus": 0xD64E, "crc16_aug_ccitt": 0xE5CC, "crc16_kermit": 0x2189,
	"crc16_mcrf4xx": 0x6F91, "crc16_x25": 0x906E, "crc16_dnp": 0xEA82,
	"crc32": 0xCBF43926, "crc32_jamcrc": 0x340BC6D9, "crc32_bzip2": 0xFC891918, "crc32_mpeg2": 0x0376E6E7, "crc32c": 0xE3069283,
	"xor8": 0x31, "sum8": 0xDD, "sum8_ones": 0x22, "sum8_twos": 0x23, "sum16": 0x01DD, "sum16_ones": 0xFE22, "sum16_twos": 0xFE23,
}

func TestCheckValuesOfTheCatalogue(t *testing.T) {
	t.Parallel()
	names := strings.Fields(checksum.Names)
	if len(names) != len(catalogue) {
		t.Errorf("%d names, %d check values", len(names), len(catalogue))
	}
	for _, name := range names {
		f, ok := checksum.Named(name)
		if !ok {
			t.Errorf("%s is listed but not known", name)
			continue
		}
		if got := f.Sum([]byte("123456789")); got != catalogue[name] {
			t.Errorf("%s: %X, want %X", name, got, catalogue[name])
		}
		if f.Size < 4 && f.Sum(make([]byte, 1000))>>(8*f.Size) != 0 {
			t.Errorf("%s does not fit %d bytes", name, f.Size)
		}
	}
	if _, ok := checksum.Named("crc7"); ok {
		t.Error("crc7 is known")
	}
}

// No named CRC turns input and result differently: the result is turned by hand.
func TestReflectionOfTheResultAlone(t *testing.T) {
	t.Parallel()
	c := checksum.CRC{Width: 8, Poly: 0x07, RefOut: true}
	if got := c.Func().Sum([]byte("123456789")); got != 0x2F { // 0xF4 turned
		t.Errorf("%X", got)
	}
}

func FuzzCRC32(f *testing.F) {
	f.Add([]byte("123456789"))
	ieee, _ := checksum.Named("crc32")
	castagnoli, _ := checksum.Named("crc32c")
	table := crc32.MakeTable(crc32.Castagnoli)
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, b := ieee.Sum(b), crc32.ChecksumIEEE(b); a != b {
			t.Errorf("%X, want %X", a, b)
		}
		if a, b := castagnoli.Sum(b), crc32.Checksum(b, table); a != b {
			t.Errorf("%X, want %X", a, b)
		}
	})
}
