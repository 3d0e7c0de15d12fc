package value_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"testing"

	"gantry/drivers"
	"gantry/drivers/internal/value"

	"github.com/google/go-cmp/cmp"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// mustForm returns a form with the order given.
func mustForm(t testing.TB, name, order string, size int) value.Form {
	t.Helper()
	f, ok := value.Named(name)
	if !ok {
		t.Fatalf("no form %s", name)
	}
	if f.Size == 0 {
		f.Size = size
	}
	n := f.Size
	if f.Kind == value.Text || f.Kind == value.Octets {
		n = 2
	}
	if f.Order, ok = value.ParseOrder(order, n); !ok {
		t.Fatalf("no order %s", order)
	}
	return f
}

func TestValues(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		form, order string
		size        int // of forms that have none
		wire        string
		want        drivers.Value
	}{
		{"u8", "", 0, "FE", int64(254)},
		{"i8", "a", 0, "FE", int64(-2)},
		{"u24", "", 0, "0102 03", int64(0x010203)},
		{"i24", "cba", 0, "FEFF FF", int64(-2)},
		{"bcd8", "", 0, "42", int64(42)},
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
		{"bool", "", 2, "0001", true},
		{"bool", "", 1, "00", false},
		{"text", "", 6, "4142 4300 0000", "ABC"},
		{"text", "ba", 4, "4241 2043", "ABC"},
		{"bytes", "", 4, "0001 FF00", []byte{0, 1, 0xFF, 0}},
	} {
		name := fmt.Sprintf("%s %s %s", tt.form, tt.order, tt.wire)
		f := mustForm(t, tt.form, tt.order, tt.size)
		wire := unhex(t, tt.wire)
		got, why := f.Read(wire)
		if why != "" || !cmp.Equal(got, tt.want) {
			t.Errorf("%s: %v (%s), want %v", name, got, why, tt.want)
			continue
		}
		back, err := f.Write(got)
		if err != nil {
			t.Errorf("%s: write: %v", name, err)
			continue
		}
		if f.Kind != value.Text && !bytes.Equal(back, wire) {
			t.Errorf("%s: written as % x", name, back)
		}
		if again, _ := f.Read(back); !cmp.Equal(again, tt.want) {
			t.Errorf("%s: read back as %v", name, again)
		}
	}
}

func TestWhatIsNoValue(t *testing.T) {
	t.Parallel()
	absent := func(f value.Form, mark uint64) value.Form { f.Absent, f.HasAbsent = mark, true; return f }
	for _, tt := range []struct {
		form value.Form
		wire string
		why  string
	}{
		{mustForm(t, "f32", "", 0), "7FC0 0000", value.WhyNumber},
		{mustForm(t, "f64", "", 0), "7FF0 0000 0000 0000", value.WhyNumber},
		{mustForm(t, "u64", "", 0), "8000 0000 0000 0000", value.WhyRange},
		{mustForm(t, "bcd16", "", 0), "12A4", value.WhyBCD},
		{mustForm(t, "text", "", 2), "FFFE", value.WhyText},
		{absent(mustForm(t, "i16", "", 0), 0x8000), "8000", value.WhyAbsent},
		{absent(mustForm(t, "u32", "cdab", 0), 0xFFFF0000), "0000 FFFF", value.WhyAbsent},
	} {
		if v, why := tt.form.Read(unhex(t, tt.wire)); v != nil || why != tt.why {
			t.Errorf("%s: %v %q, want %q", tt.wire, v, why, tt.why)
		}
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
		f := mustForm(t, tt.form, "", 4)
		if b, err := f.Write(tt.v); err == nil {
			t.Errorf("%s takes %v: % x", tt.form, tt.v, b)
		}
	}
}

func TestOrders(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"abce", "aacd", "abc", "cdabx", "abcdefgh"} {
		if _, ok := value.ParseOrder(bad, 4); ok {
			t.Errorf("%q is taken for 32 bits", bad)
		}
	}
}

func FuzzValues(f *testing.F) {
	f.Add("u32", "cdab", []byte{1, 2, 3, 4, 5, 6, 7, 8})
	f.Add("f32", "", []byte{0x7f, 0x80, 0, 1, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, name, order string, b []byte) {
		form, ok := value.Named(name)
		if !ok {
			return
		}
		if form.Size == 0 {
			form.Size = 4
		}
		n := form.Size
		if form.Kind == value.Text || form.Kind == value.Octets {
			n = 2
		}
		if form.Order, ok = value.ParseOrder(order, n); !ok || len(b) < form.Size {
			return
		}
		wire := b[:form.Size]
		v, why := form.Read(wire)
		if (v == nil) != (why != "") {
			t.Fatalf("%v and %q", v, why)
		}
		if v == nil {
			return
		}
		back, err := form.Write(v)
		if err != nil {
			t.Fatalf("% x reads %v, which cannot be written: %v", wire, v, err)
		}
		if again, _ := form.Read(back); !cmp.Equal(again, v) {
			t.Fatalf("%v comes back as %v", v, again)
		}
	})
}
