package shape_test

import (
	"maps"
	"testing"

	"gantry/bridge/shapes/internal/shape"
)

func TestNames(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Living Room Lamp": "living_room_lamp", "  --x--": "x", "Küche/Fenster 2": "kueche_fenster_2", "0x00158d": "0x00158d", "日本": "", "PM2.5": "pm2_5", "m³": "m3",
	} {
		if got := shape.Name(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestCollidingNamesDependOnTheKeysAlone(t *testing.T) {
	t.Parallel()
	all := shape.Names(map[string]string{"c": "Lamp", "a": "lamp", "b": "LAMP!", "d": "日本"})
	want := map[string]string{"a": "lamp", "b": shape.Suffixed("lamp", "b"), "c": shape.Suffixed("lamp", "c"), "d": "x"}
	if !maps.Equal(all, want) {
		t.Errorf("%v, want %v", all, want)
	}
}

func TestUnits(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"°C": "Cel", " kWh ": "kW.h", "": "", "lqi": "{lqi}", "µg/m³": "ug/m3", "a{b}": "{ab}", "漢": ""} {
		if got := shape.Unit(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
