package board

import (
	"math"
	"testing"

	"gantry/drivers"
)

// FuzzTexts parses anything as each of the kernel's files: a value in its range or a
// reason comes back.
func FuzzTexts(f *testing.F) {
	f.Add("0.52 0.58 0.59 1/189 4242")
	f.Add("NaN inf 1e999")
	f.Add("MemTotal: 4000 kB\nMemAvailable: 9000 kB")
	f.Add("MemTotal: 18446744073709551615 kB\nMemAvailable: 1 kB")
	f.Add("50005")
	f.Add("48312")
	f.Fuzz(func(t *testing.T, text string) {
		check := func(v drivers.Value, why string) {
			if (v == nil) == (why == "") {
				t.Errorf("%v, %q", v, why)
			}
			if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
				t.Error(f)
			}
		}
		for i := range 3 {
			check(decimal(text, i))
		}
		check(celsius(text))
		check(flag(text, 16))
		check(ofMemory(text, available))
		v, why := ofMemory(text, used)
		check(v, why)
		if percent, ok := v.(float64); ok && (percent < 0 || percent > 100) {
			t.Error(percent)
		}
	})
}
