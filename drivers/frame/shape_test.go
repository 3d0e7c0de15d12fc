package frame

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func shapeOf(t testing.TB, cfg Config) *shape {
	t.Helper()
	s, err := newShape(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func at(n int32) *int32 { return &n }

// shapes are one of each.
func shapes(t testing.TB) map[string]*shape {
	return map[string]*shape{
		"fixed":  shapeOf(t, Config{Frame: ShapeConfig{Kind: "fixed", Start: Bytes{0xAA, 0xC0}, End: Bytes{0xAB}, Size: 10}, Checksum: &ChecksumConfig{Kind: "sum8", From: 2}}),
		"bare":   shapeOf(t, Config{Frame: ShapeConfig{Kind: "fixed", Size: 6}, Checksum: &ChecksumConfig{Kind: "crc16_ccitt_false"}}),
		"length": shapeOf(t, Config{Order: "little", Frame: ShapeConfig{Kind: "length", Start: Bytes{0x68}, Length: &LengthConfig{At: 1, Size: 2, Add: 6}, End: Bytes{0x16}, Max: 64}, Checksum: &ChecksumConfig{Kind: "crc16_kermit", From: 1}}),
		"hdlc":   shapeOf(t, Config{Frame: ShapeConfig{Kind: "delimiter", Start: Bytes{0x7E}, End: Bytes{0x7E}, Escape: &EscapeConfig{Byte: Bytes{0x7D}, XOR: 0x20}, Max: 64}, Checksum: &ChecksumConfig{Kind: "crc16_x25", From: 1, Order: "little"}}),
		"slip":   shapeOf(t, Config{Frame: ShapeConfig{Kind: "delimiter", End: Bytes{0xC0}, Escape: &EscapeConfig{Byte: Bytes{0xDB}, Map: map[string]Bytes{"DC": {0xC0}, "DD": {0xDB}}}, Max: 64}}),
		"dle":    shapeOf(t, Config{Frame: ShapeConfig{Kind: "delimiter", Start: Bytes{0x10, 2}, End: Bytes{0x10, 3}, Escape: &EscapeConfig{Byte: Bytes{0x10}}, Max: 64}, Checksum: &ChecksumConfig{Kind: "sum16_twos", From: 2, At: at(-2)}}),
		"line":   shapeOf(t, Config{Frame: ShapeConfig{Kind: "delimiter", Start: Bytes{'$'}, End: Bytes{'\r', '\n'}, Max: 96}, Checksum: &ChecksumConfig{Kind: "xor8", Hex: true, From: 1, To: at(-3)}}),
	}
}

// cutAll returns the frames in what comes in portions of the sizes given.
func cutAll(t testing.TB, s *shape, b []byte, portions []byte, over bool) (frames []string) {
	c := cutter{shape: s}
	var have []byte
	for len(b) > 0 || over {
		n := len(b)
		if len(portions) > 0 {
			n = min(int(portions[0]%16)+1, n)
			portions = portions[1:]
		}
		have = append(have, b[:n]...)
		b = b[n:]
		for {
			frame, used, why := c.cut(have, over && len(b) == 0)
			if frame != nil {
				if why != "" || used < len(frame) && s.escape == nil || s.sum.check(frame) != "" || len(frame) > s.max+maxMarker {
					t.Fatalf("frame % x of %d bytes: %q", frame, used, why)
				}
				frames = append(frames, hex.EncodeToString(frame))
			}
			if used < 0 || used > len(have) || used == 0 && (frame != nil || why != "") {
				t.Fatalf("%d of %d bytes used, frame % x, %q", used, len(have), frame, why)
			}
			if used == 0 {
				break
			}
			have = have[used:]
		}
		if over && len(b) == 0 {
			break
		}
		if len(have) > s.max+s.lenSize+2*maxMarker {
			t.Fatalf("%d bytes are kept", len(have))
		}
	}
	return frames
}

func TestFramesAreFound(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, wire string
		want       []string
	}{
		{"fixed", "AAC0D4043A0AA1601DAB AAC0D4043A0AA1601DAB", []string{"aac0d4043a0aa1601d", "aac0d4043a0aa1601d"}},
		{"fixed", "AAC0D404 AAC0D4043A0AA1601DAB", []string{"aac0d4043a0aa1601d"}},
		{"bare", "FF 31323334 5349 00", []string{"313233345349"}}, // CRC of "1234"
		{"slip", "01 02 C0 C0 DBDC DBDD C0 DB00 C0 05 C0", []string{"0102", "c0db", "05"}},
		{"line", ascii("x$GPGLL,,,,,,V*06\r\n$GPGLL,,,,,,V*07\r\n"), []string{ascii("$GPGLL,,,,,,V*06")}},
	} {
		wire, err := hex.DecodeString(strings.ReplaceAll(tt.wire, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, cutAll(t, shapes(t)[tt.name], wire, nil, false)); diff != "" {
			t.Errorf("%s %s: %s", tt.name, tt.wire, diff)
		}
	}
}

func ascii(s string) string { return hex.EncodeToString([]byte(s)) }

// What a template makes is found again, whatever is in it, between noise.
func FuzzTemplatesMakeFrames(f *testing.F) {
	f.Add([]byte{0x7E, 0x7D, 0x10, 3, 0xC0, 0xDB, 0xAB, 0xAA}, []byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, v, portions []byte) {
		if len(v) > 16 {
			return
		}
		for name, text := range map[string]string{
			"length": "68 {length} {value} {checksum}", "hdlc": "7E {value} {checksum}", "dle": "10 02 {value} {checksum}",
			"slip": "55 {value}",
		} {
			s := shapes(t)[name]
			tmpl, err := newTemplate("template", text, false, s, map[string]int{"value": len(v)})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			wire := tmpl.fill(map[string][]byte{"value": v})
			frames := cutAll(t, s, append(bytes.Clone(wire), wire...), portions, false)
			if len(frames) != 2 || !bytes.Contains([]byte(frames[0]), []byte(hex.EncodeToString(v))) || frames[0] != frames[1] {
				t.Fatalf("%s: % x is sent as % x and found as %v", name, v, wire, frames)
			}
		}
	})
}

// Whatever comes, in whatever portions, the same frames are found, each intact, and
// no more is kept than a frame has.
func FuzzStream(f *testing.F) {
	f.Add([]byte("\xAA\xC0\xD4\x04\x3A\x0A\xA1\x60\x1D\xAB"), []byte{3, 1, 2})
	f.Add([]byte("\x7E\x7E\x7D\x7E\x10\x02\x10\x10\x10\x03$A*41\r\n\xC0\xDB"), []byte{0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte("\x68\x00\x00\x16\x68\xFF\xFF"), []byte{})
	f.Fuzz(func(t *testing.T, b, portions []byte) {
		if len(b) > 4096 {
			return
		}
		for name, s := range shapes(t) {
			whole := cutAll(t, s, b, nil, false)
			if parts := cutAll(t, s, b, portions, false); !cmp.Equal(whole, parts) {
				t.Fatalf("%s: %v in one, %v in portions", name, whole, parts)
			}
			cutAll(t, s, b, portions, true)
		}
	})
}
