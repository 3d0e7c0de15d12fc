package hass_test

import (
	"math"
	"testing"

	"gantry/bridge/hass"
)

func TestStates(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		value         any
		quality, want string
	}{
		{true, "good", "ON"}, {false, "uncertain", "OFF"}, {21.5, "good", "21.5"}, {int64(-3), "good", "-3"}, {"auto", "stale", "auto"},
		{nil, "bad", "None"}, {21.5, "bad", "None"}, {[]byte{1}, "good", "None"},
	} {
		if got := hass.State(c.value, c.quality); got != c.want {
			t.Errorf("%v (%s): %q, want %q", c.value, c.quality, got, c.want)
		}
	}
}

func FuzzCommand(f *testing.F) {
	for _, s := range []string{"ON", "OFF", "21.5", "NaN", "1e999", "", "text"} {
		f.Add("bool", s)
		f.Add("float", s)
		f.Add("text", s)
	}
	f.Fuzz(func(t *testing.T, typ, payload string) {
		v, err := hass.Command(typ, []byte(payload))
		if x, is := v.(float64); err == nil && is && (math.IsNaN(x) || math.IsInf(x, 0)) {
			t.Errorf("%q: %v", payload, x)
		}
	})
}
