package transform_test

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"gantry/drivers"
	"gantry/drivers/hub/internal/transform"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ptr(v float64) *float64 { return &v }

func newTransform(t testing.TB, raw drivers.Type, cfg transform.Config) *transform.Transform {
	t.Helper()
	tr, err := transform.New(raw, &cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestThereAndBack(t *testing.T) {
	t.Parallel()
	mode := map[string]string{"0": "off", "1": "heat", "0x2": "cool"}
	for _, tt := range []struct {
		name    string
		raw     drivers.Type
		cfg     transform.Config
		in      drivers.Value
		want    drivers.Value
		typ     drivers.Type
		present drivers.Value // before the way back
		back    drivers.Value // nil = in
	}{
		{name: "nothing", raw: drivers.Int, in: int64(7), want: int64(7), typ: drivers.Int},
		{name: "a scale", raw: drivers.Int, cfg: transform.Config{Scale: ptr(0.1)}, in: int64(234), want: 23.4, typ: drivers.Float},
		{name: "a scale and an offset", raw: drivers.Int, cfg: transform.Config{Scale: ptr(1), Offset: -40}, in: int64(60), want: 20.0, typ: drivers.Float},
		{name: "bits", raw: drivers.Int, cfg: transform.Config{Mask: 0x00F0}, in: int64(0x1234), want: int64(3), typ: drivers.Int, present: int64(0x7777), back: int64(0x7737)},
		{name: "one bit", raw: drivers.Int, cfg: transform.Config{Mask: 0x8}, in: int64(0xF), want: true, typ: drivers.Bool, present: int64(0x10), back: int64(0x18)},
		{name: "one bit that is off", raw: drivers.Int, cfg: transform.Config{Mask: 0x8}, in: int64(0x7), want: false, typ: drivers.Bool, present: int64(0x1F), back: int64(0x17)},
		{name: "bits of a negative number", raw: drivers.Int, cfg: transform.Config{Mask: 0xFF}, in: int64(-1), want: int64(255), typ: drivers.Int, present: int64(-256), back: int64(-1)},
		{name: "bits, scaled", raw: drivers.Int, cfg: transform.Config{Mask: 0xFF00, Scale: ptr(0.5)}, in: int64(0x0312), want: 1.5, typ: drivers.Float, present: int64(0xFF), back: int64(0x03FF)},
		{name: "a map", raw: drivers.Int, cfg: transform.Config{Map: mode}, in: int64(2), want: "cool", typ: drivers.Text},
		{name: "a map of bits", raw: drivers.Int, cfg: transform.Config{Mask: 0x30, Map: mode}, in: int64(0x1F), want: "heat", typ: drivers.Text, present: int64(0xFF), back: int64(0xDF)},
		{name: "a map of a bit", raw: drivers.Int, cfg: transform.Config{Mask: 0x1, Map: map[string]string{"true": "open", "false": "shut"}}, in: int64(3), want: "open", typ: drivers.Text, present: int64(0), back: int64(1)},
		{name: "a map of a bool", raw: drivers.Bool, cfg: transform.Config{Map: map[string]string{"true": "open", "false": "shut"}}, in: false, want: "shut", typ: drivers.Text},
		{name: "calibrated between", raw: drivers.Float, cfg: transform.Config{Calibrate: [][]float64{{0, 1}, {10, 21}, {20, 31}}}, in: 5.0, want: 11.0, typ: drivers.Float},
		{name: "calibrated at a point", raw: drivers.Float, cfg: transform.Config{Calibrate: [][]float64{{0, 1}, {10, 21}, {20, 31}}}, in: 10.0, want: 21.0, typ: drivers.Float},
		{name: "calibrated below", raw: drivers.Float, cfg: transform.Config{Calibrate: [][]float64{{0, 1}, {10, 21}, {20, 31}}}, in: -5.0, want: -9.0, typ: drivers.Float},
		{name: "calibrated above", raw: drivers.Float, cfg: transform.Config{Calibrate: [][]float64{{0, 1}, {10, 21}, {20, 31}}}, in: 30.0, want: 41.0, typ: drivers.Float},
		{name: "calibrated falling", raw: drivers.Int, cfg: transform.Config{Scale: ptr(0.5), Calibrate: [][]float64{{0, 100}, {50, 50}, {100, 40}}}, in: int64(150), want: 45.0, typ: drivers.Float},
		{name: "text", raw: drivers.Text, in: "on", want: "on", typ: drivers.Text},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := newTransform(t, tt.raw, tt.cfg)
			got, why := tr.Apply(tt.in)
			if why != "" || cmp.Diff(tt.want, got) != "" || tr.Type() != tt.typ {
				t.Errorf("Apply(%v) = %v (%s), %q, want %v", tt.in, got, tr.Type(), why, tt.want)
			}
			if err := tr.CheckUndo(); err != nil {
				t.Fatal(err)
			}
			if tt.back == nil {
				tt.back = tt.in
			}
			back, why := tr.Undo(got, tt.present)
			if why != "" || cmp.Diff(tt.back, back) != "" {
				t.Errorf("Undo(%v) = %v, %q, want %v", got, back, why, tt.back)
			}
		})
	}
}

func TestWhatHasNoWay(t *testing.T) {
	t.Parallel()
	mode := map[string]string{"0": "off", "1": "on"}
	for _, tt := range []struct {
		name string
		raw  drivers.Type
		cfg  transform.Config
		in   any
		why  string
	}{
		{"a number without a name", drivers.Int, transform.Config{Map: mode}, int64(2), "unmapped"},
		{"a text where a number is due", drivers.Int, transform.Config{Map: mode}, "on", "type"},
		{"an overflow", drivers.Float, transform.Config{Scale: ptr(1e300)}, 1e300, "not_a_number"},
		{"an overflow beyond the table", drivers.Float, transform.Config{Calibrate: [][]float64{{0, 0}, {1e-300, 1e300}}}, 1e10, "not_a_number"},
		{"no number", drivers.Float, transform.Config{Calibrate: [][]float64{{0, 0}, {1, 1}}}, math.NaN(), "not_a_number"},
	} {
		if v, why := newTransform(t, tt.raw, tt.cfg).Apply(tt.in); why != tt.why || v != nil {
			t.Errorf("%s: %v, %q, want %q", tt.name, v, why, tt.why)
		}
	}
	for _, tt := range []struct {
		name    string
		cfg     transform.Config
		v       drivers.Value
		present drivers.Value
		why     string
	}{
		{"a name that is none", transform.Config{Map: mode}, "auto", nil, "unmapped"},
		{"more than the bits hold", transform.Config{Mask: 0xF0}, int64(16), int64(0), "too_large"},
		{"far more than the bits hold", transform.Config{Mask: 0xF0}, int64(math.MaxInt64), int64(0), "too_large"},
		{"less than the bits hold", transform.Config{Mask: 0xF0}, int64(-1), int64(0), "too_large"},
		{"a bit that the mask leaves out", transform.Config{Mask: 0x50}, int64(2), int64(0), "too_large"},
		{"bits without the rest", transform.Config{Mask: 0xF0}, int64(1), nil, "type"},
		{"more than an integer holds", transform.Config{Scale: ptr(1e-9)}, 1e15, nil, "too_large"},
	} {
		if v, why := newTransform(t, drivers.Int, tt.cfg).Undo(tt.v, tt.present); why != tt.why || v != nil {
			t.Errorf("%s: %v, %q, want %q", tt.name, v, why, tt.why)
		}
	}
}

func TestEqual(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		raw  drivers.Type
		mask uint64
		a, b drivers.Value
		want bool
	}{
		{drivers.Int, 0, int64(5), 5.0, true},
		{drivers.Int, 0, int64(5), int64(6), false},
		{drivers.Int, 0xF0, int64(0x15), int64(0xF1F), true},
		{drivers.Int, 0xF0, int64(0x15), int64(0x25), false},
		{drivers.Float, 0, 0.1, float64(float32(0.1)), true},
		{drivers.Float, 0, 0.1, 0.1001, false},
		{drivers.Float, 0, 0.0, 1e-3, false},
		{drivers.Bool, 0, true, true, true},
		{drivers.Bool, 0, true, int64(1), false},
		{drivers.Bytes, 0, []byte{1}, []byte{1}, true},
	} {
		tr := newTransform(t, tt.raw, transform.Config{Mask: tt.mask})
		if got := tr.Equal(tt.a, tt.b); got != tt.want {
			t.Errorf("%s, mask %#x: Equal(%v, %v) = %v", tt.raw, tt.mask, tt.a, tt.b, got)
		}
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		cfg       transform.Config
		low, high *float64
		want      string
	}{
		{"none", transform.Config{}, nil, nil, "- -"},
		{"as they are", transform.Config{}, ptr(1), ptr(2), "1 2"},
		{"scaled", transform.Config{Scale: ptr(0.1), Offset: 1}, ptr(10), nil, "2 -"},
		{"turned round", transform.Config{Scale: ptr(-1)}, ptr(1), ptr(2), "-2 -1"},
		{"turned round by the table", transform.Config{Calibrate: [][]float64{{0, 10}, {10, 0}}}, ptr(0), ptr(10), "0 10"},
		{"of the mask", transform.Config{Mask: 0x70}, nil, ptr(9000), "0 7"},
		{"of a map", transform.Config{Map: map[string]string{"1": "a"}}, ptr(0), ptr(1), "- -"},
	} {
		show := func(f *float64) string {
			if f == nil {
				return "-"
			}
			return fmt.Sprint(*f)
		}
		low, high := newTransform(t, drivers.Int, tt.cfg).Bounds(tt.low, tt.high)
		if got := show(low) + " " + show(high); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		raw  drivers.Type
		cfg  transform.Config
		key  string
	}{
		{"scale 0", drivers.Int, transform.Config{Scale: ptr(0)}, "scale"},
		{"scale that is no number", drivers.Int, transform.Config{Scale: ptr(math.NaN())}, "scale"},
		{"infinite offset", drivers.Int, transform.Config{Offset: math.Inf(1)}, "offset"},
		{"mask on a float", drivers.Float, transform.Config{Mask: 1}, "mask"},
		{"scale on a bit", drivers.Int, transform.Config{Mask: 4, Scale: ptr(2)}, "scale"},
		{"offset on a text", drivers.Text, transform.Config{Offset: 2}, "offset"},
		{"table on a bool", drivers.Bool, transform.Config{Calibrate: [][]float64{{0, 0}, {1, 1}}}, "calibrate"},
		{"table of one", drivers.Int, transform.Config{Calibrate: [][]float64{{0, 0}}}, "calibrate"},
		{"table of threes", drivers.Int, transform.Config{Calibrate: [][]float64{{0, 0, 0}, {1, 1}}}, "calibrate"},
		{"table that falls back", drivers.Int, transform.Config{Calibrate: [][]float64{{0, 0}, {1, 1}, {1, 2}}}, "calibrate"},
		{"table of infinity", drivers.Int, transform.Config{Calibrate: [][]float64{{0, 0}, {1, math.Inf(1)}}}, "calibrate"},
		{"map beside a scale", drivers.Int, transform.Config{Map: map[string]string{"1": "a"}, Scale: ptr(2)}, "map"},
		{"map of a float", drivers.Float, transform.Config{Map: map[string]string{"1": "a"}}, "map"},
		{"map of words", drivers.Int, transform.Config{Map: map[string]string{"one": "a"}}, "map"},
		{"map of a bool by numbers", drivers.Bool, transform.Config{Map: map[string]string{"1": "a"}}, "map"},
		{"map of one number twice", drivers.Int, transform.Config{Map: map[string]string{"1": "a", "0x1": "b"}}, "map"},
		{"empty map", drivers.Int, transform.Config{Map: map[string]string{}}, "map"},
	} {
		_, err := transform.New(tt.raw, &tt.cfg)
		var c *drivers.ConfigError
		if !errors.As(err, &c) || c.Key != tt.key || c.Allowed == "" {
			t.Errorf("%s: %v, want an error of key %s that says what is allowed", tt.name, err, tt.key)
		}
	}
	for _, cfg := range []transform.Config{
		{Map: map[string]string{"1": "a", "2": "a"}},
		{Calibrate: [][]float64{{0, 0}, {1, 1}, {2, 0}}},
		{Calibrate: [][]float64{{0, 0}, {1, 0}}},
	} {
		var c *drivers.ConfigError
		if err := newTransform(t, drivers.Int, cfg).CheckUndo(); !errors.As(err, &c) || c.Allowed == "" {
			t.Errorf("%+v has a way back: %v", cfg, err)
		}
	}
}

func TestScalingIsUndoneExactly(t *testing.T) {
	t.Parallel()
	scales := []float64{0.1, 0.01, 0.001, 1e-6, 0.5, 0.25, 2, 10, 100, -0.1, -1, 1.8, 1.0 / 3, 0.0625, 3.3 / 4096, 1e6}
	offsets := []float64{0, -40, 32, 0.5, 273.15, -1000}
	for _, scale := range scales {
		for _, offset := range offsets {
			tr := newTransform(t, drivers.Int, transform.Config{Scale: &scale, Offset: offset})
			for _, raw := range []int64{0, 1, -1, 7, 234, -400, 65535, 1_000_003, -1 << 31, 1<<31 - 1} {
				published, why := tr.Apply(raw)
				if why != "" {
					t.Fatal(why)
				}
				back, why := tr.Undo(published, nil)
				if why != "" || back != raw {
					t.Fatalf("scale %g offset %g: %d became %v and came back as %v (%v)", scale, offset, raw, published, back, why)
				}
			}
		}
	}
}

func TestTenthsAreTenths(t *testing.T) {
	t.Parallel()
	tr := newTransform(t, drivers.Int, transform.Config{Scale: ptr(0.1)})
	for raw := range int64(10000) {
		got, why := tr.Apply(raw)
		if why != "" || got != float64(raw)/10 {
			t.Fatalf("%d scaled by 0.1 = %v, %v", raw, got, why)
		}
	}
}

// FuzzWayBack checks that a value which was applied comes back to the same raw
// value, or to none.
func FuzzWayBack(f *testing.F) {
	f.Add(int64(0x1234), uint64(0xF0), 1.0, 0.0)
	f.Add(int64(-1), uint64(0), 0.1, -40.0)
	f.Add(int64(7), uint64(1<<63), 1e300, 1e-300)
	f.Fuzz(func(t *testing.T, raw int64, mask uint64, scale, offset float64) {
		cfg := transform.Config{Mask: mask}
		if mask&(mask-1) != 0 || mask == 0 {
			cfg.Scale, cfg.Offset = &scale, offset
		}
		tr, err := transform.New(drivers.Int, &cfg)
		if err != nil {
			return
		}
		v, why := tr.Apply(raw)
		if why != "" {
			return
		}
		if n, ok := transform.Number(v); ok && (math.IsNaN(n) || math.IsInf(n, 0)) {
			t.Fatalf("%d became %v", raw, v)
		}
		back, why := tr.Undo(v, raw)
		if why == "" && mask != 0 && cfg.Scale != nil && *cfg.Scale == 1 && offset == 0 && !tr.Equal(back, raw) {
			t.Fatalf("%d became %v and came back as %v", raw, v, back)
		}
	})
}
