package modbus

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"gantry/drivers"

	"github.com/google/go-cmp/cmp"
)

// mustForm returns a form with the order given.
func mustForm(t testing.TB, name, order string, regs int) form {
	t.Helper()
	f, ok := forms[name]
	if !ok {
		t.Fatalf("no form %s", name)
	}
	if f.regs == 0 {
		f.regs = regs
	}
	n := 2 * f.regs
	if f.kind == text || f.kind == octets {
		n = 2
	}
	if f.order, ok = parseOrder(order, n); !ok {
		t.Fatalf("no order %s", order)
	}
	return f
}

func TestValues(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		form, order string
		regs        int
		wire        string
		want        drivers.Value
	}{
		{"u16", "", 0, "FFFE", int64(65534)},
		{"i16", "ab", 0, "FFFE", int64(-2)},
		{"u16", "ba", 0, "1234", int64(0x3412)},
		{"u32", "abcd", 0, "0001 0002", int64(65538)},
		{"i32", "abcd", 0, "FFFF FFFE", int64(-2)},
		{"i32", "cdab", 0, "FFFE FFFF", int64(-2)},
		{"u32", "badc", 0, "2211 4433", int64(0x11223344)},
		{"u32", "dcba", 0, "4433 2211", int64(0x11223344)},
		{"f32", "", 0, "41AC 0000", 21.5},
		{"f32", "cdab", 0, "199A 4366", 230.1},
		{"f32", "badc", 0, "6643 9A19", 230.1},
		{"f32", "dcba", 0, "9A19 6643", 230.1},
		{"f64", "", 0, "4035 8000 0000 0000", 21.5},
		{"f64", "cdab", 0, "0000 0000 8000 4035", 21.5},
		{"f64", "badc", 0, "3540 0080 0000 0000", 21.5},
		{"f64", "dcba", 0, "0000 0000 0080 3540", 21.5},
		{"u64", "cdefghab", 0, "0304 0506 0708 0102", int64(0x0102030405060708)},
		{"i64", "", 0, "FFFF FFFF FFFF FFFF", int64(-1)},
		{"u64", "", 0, "7FFF FFFF FFFF FFFF", int64(math.MaxInt64)},
		{"bcd16", "", 0, "1234", int64(1234)},
		{"bcd32", "cdab", 0, "5678 1234", int64(12345678)},
		{"bcd64", "", 0, "0000 0012 3456 7890", int64(1234567890)},
		{"bool", "", 0, "0001", true},
		{"bool", "", 0, "0000", false},
		{"text", "", 3, "4142 4300 0000", "ABC"},
		{"text", "ba", 2, "4241 2043", "ABC"},
		{"bytes", "", 2, "0001 FF00", []byte{0, 1, 0xFF, 0}},
	} {
		name := fmt.Sprintf("%s %s %s", tt.form, tt.order, tt.wire)
		f := mustForm(t, tt.form, tt.order, tt.regs)
		wire := unhex(t, tt.wire)
		got, why := f.read(wire)
		if why != "" || !cmp.Equal(got, tt.want) {
			t.Errorf("%s: %v (%s), want %v", name, got, why, tt.want)
			continue
		}
		back, err := f.write(got)
		if err != nil {
			t.Errorf("%s: write: %v", name, err)
			continue
		}
		if f.kind != text && !bytes.Equal(back, wire) {
			t.Errorf("%s: written as % x", name, back)
		}
		if again, _ := f.read(back); !cmp.Equal(again, tt.want) {
			t.Errorf("%s: read back as %v", name, again)
		}
	}
}

func TestWhatIsNoValue(t *testing.T) {
	t.Parallel()
	absent := func(f form, mark uint64) form { f.absent, f.hasAbsent = mark, true; return f }
	for _, tt := range []struct {
		form form
		wire string
		why  string
	}{
		{mustForm(t, "f32", "", 0), "7FC0 0000", whyNumber},
		{mustForm(t, "f64", "", 0), "7FF0 0000 0000 0000", whyNumber},
		{mustForm(t, "u64", "", 0), "8000 0000 0000 0000", whyRange},
		{mustForm(t, "bcd16", "", 0), "12A4", whyBCD},
		{mustForm(t, "text", "", 1), "FFFE", whyText},
		{absent(mustForm(t, "i16", "", 0), 0x8000), "8000", whyAbsent},
		{absent(mustForm(t, "u32", "cdab", 0), 0xFFFF0000), "0000 FFFF", whyAbsent},
	} {
		if v, why := tt.form.read(unhex(t, tt.wire)); v != nil || why != tt.why {
			t.Errorf("%s: %v %q, want %q", tt.wire, v, why, tt.why)
		}
	}
}

func TestBitsOfARegister(t *testing.T) {
	t.Parallel()
	f := mustForm(t, "u16", "", 0)
	f.bit, f.bits = 4, 3
	if v, _ := f.read([]byte{0x00, 0x50}); v != int64(5) {
		t.Errorf("read %v", v)
	}
	and, or, err := f.writeBits(int64(6))
	if err != nil || and != 0xFF8F || or != 0x0060 {
		t.Errorf("masks %04x %04x (%v)", and, or, err)
	}
	if _, _, err := f.writeBits(int64(8)); err == nil {
		t.Error("8 fits three bits")
	}
	f.bit, f.bits, f.flag = 15, 1, true
	if v, _ := f.read([]byte{0x80, 0}); v != true {
		t.Errorf("bit 15 reads %v", v)
	}
	and, or, _ = f.writeBits(false)
	if and != 0x7FFF || or != 0 {
		t.Errorf("masks %04x %04x", and, or)
	}
	f.order = []byte{1, 0}
	if v, _ := f.read([]byte{0, 0x80}); v != true {
		t.Errorf("swapped bit 15 reads %v", v)
	}
	if and, or, _ = f.writeBits(true); and != 0xFF7F || or != 0x0080 {
		t.Errorf("swapped masks %04x %04x", and, or)
	}
}

func TestWhatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		form string
		v    drivers.Value
	}{
		{"u16", int64(65536)}, {"u16", int64(-1)}, {"i16", int64(32768)}, {"i16", int64(-32769)}, {"u16", 1.5}, {"u16", nil},
		{"u32", int64(1 << 32)}, {"u64", int64(-1)}, {"f32", 1e300}, {"f32", math.NaN()}, {"f64", math.Inf(1)}, {"f64", int64(1)},
		{"bcd16", int64(10000)}, {"bcd16", int64(-1)}, {"bool", int64(1)}, {"text", "abcde"}, {"bytes", []byte{1}},
	} {
		f := mustForm(t, tt.form, "", 2)
		if b, err := f.write(tt.v); err == nil {
			t.Errorf("%s takes %v: % x", tt.form, tt.v, b)
		}
	}
}

func TestOrders(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"abce", "aacd", "abc", "cdabx", "abcdefgh"} {
		if _, ok := parseOrder(bad, 4); ok {
			t.Errorf("%q is taken for 32 bits", bad)
		}
	}
}

func FuzzValues(f *testing.F) {
	f.Add("u32", "cdab", []byte{1, 2, 3, 4, 5, 6, 7, 8})
	f.Add("f32", "", []byte{0x7f, 0x80, 0, 1, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, name, order string, b []byte) {
		form, ok := forms[name]
		if !ok {
			return
		}
		if form.regs == 0 {
			form.regs = 2
		}
		n := 2 * form.regs
		if form.kind == text || form.kind == octets {
			n = 2
		}
		if form.order, ok = parseOrder(order, n); !ok || len(b) < 2*form.regs {
			return
		}
		wire := b[:2*form.regs]
		v, why := form.read(wire)
		if (v == nil) != (why != "") {
			t.Fatalf("%v and %q", v, why)
		}
		if v == nil {
			return
		}
		back, err := form.write(v)
		if err != nil {
			t.Fatalf("% x reads %v, which cannot be written: %v", wire, v, err)
		}
		if again, _ := form.read(back); !cmp.Equal(again, v) {
			t.Fatalf("%v comes back as %v", v, again)
		}
	})
}
