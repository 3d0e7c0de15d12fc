package modbus

import (
	"bytes"
	"testing"
	"time"
)

func TestChecksum(t *testing.T) {
	t.Parallel()
	// Modbus over Serial Line V1.02, section 6.2.2: function 7 to unit 2 has the
	// checksum 1241 hexadecimal, low byte first 41 12.
	if got := appendRTU(nil, 2, []byte{7}); !bytes.Equal(got, []byte{2, 7, 0x41, 0x12}) {
		t.Errorf("% x", got)
	}
	// Check value of the catalogue of CRC algorithms for CRC-16/MODBUS.
	if got := crc([]byte("123456789")); got != 0x4B37 {
		t.Errorf("%04x", got)
	}
}

func TestAnswerIsFoundAmongOthers(t *testing.T) {
	t.Parallel()
	req := readPDU(holding, 0, 1)
	answer := appendRTU(nil, 1, []byte{3, 2, 0x12, 0x34})
	frame := func(unit byte, pdu ...byte) []byte { return appendRTU(nil, unit, pdu) }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for _, tt := range []struct {
		name string
		in   []byte
		want []byte
		odd  bool
	}{
		{"alone", answer, []byte{3, 2, 0x12, 0x34}, false},
		{"after noise", join([]byte{0, 0xFF, 1, 3}, answer), []byte{3, 2, 0x12, 0x34}, false},
		{"before noise", join(answer, []byte{0, 0xFF}), []byte{3, 2, 0x12, 0x34}, false},
		{"after another unit's", join(frame(2, 3, 2, 9, 9), answer), []byte{3, 2, 0x12, 0x34}, false},
		{"after a late one of other length", join(frame(1, 3, 4, 9, 9, 9, 9), answer), []byte{3, 2, 0x12, 0x34}, true},
		{"after a late one to another function", join(frame(1, 4, 2, 9, 9), answer), []byte{3, 2, 0x12, 0x34}, true},
		{"an exception", frame(1, 0x83, 2), []byte{0x83, 2}, false},
		{"an exception to another function", frame(1, 0x84, 2), nil, true},
		{"cut off", answer[:6], nil, false},
		{"with a wrong checksum", join(answer[:6], []byte{0}), nil, false},
		{"of another unit only", frame(2, 3, 2, 9, 9), nil, false},
		{"nothing", nil, nil, false},
	} {
		got, odd := answerIn(tt.in, 1, req)
		if !bytes.Equal(got, tt.want) || odd != tt.odd {
			t.Errorf("%s: % x %v, want % x %v", tt.name, got, odd, tt.want, tt.odd)
		}
	}
	for i := range answer { // one flipped bit is never taken for an answer
		for bit := range 8 {
			broken := bytes.Clone(answer)
			broken[i] ^= 1 << bit
			if got, _ := answerIn(broken, 1, req); got != nil {
				t.Errorf("byte %d bit %d: % x", i, bit, got)
			}
		}
	}
}

func TestGapBetweenFrames(t *testing.T) {
	t.Parallel()
	for baud, want := range map[int]time.Duration{9600: 4010 * time.Microsecond, 19200: 2005 * time.Microsecond, 38400: 1750 * time.Microsecond, 115200: 1750 * time.Microsecond} {
		if got := frameGap(baud); got < want-time.Microsecond || got > want+time.Microsecond {
			t.Errorf("%d: %v, want %v", baud, got, want)
		}
	}
}
