package hub_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"

	"gantry/drivers"
	"gantry/drivers/hub"
)

// decode reads one device table as the configuration loader does.
func decode(t *testing.T, text string) (hub.DeviceConfig, error) {
	t.Helper()
	var file struct {
		Device map[string]hub.DeviceConfig `toml:"device"`
	}
	dec := toml.NewDecoder(strings.NewReader(text)).DisallowUnknownFields()
	err := dec.Decode(&file)
	return file.Device["dev"], err
}

func TestEveryKeyOfADevice(t *testing.T) {
	t.Parallel()
	cfg, err := decode(t, `
[device.dev]
driver = "script"
label = "Barn"
disabled = false
every = "2s"
timeout = "300ms"
action_timeout = "1m"
max_silence = "1m"
stale_after = "0s"
retry = { min = "100ms", max = "30s", stable = "1m", park_after = 3, park_every = "1m" }
[device.dev.point.weight]
label = "Weight"
description = "of the feed"
unit = "kg"
scale = 0.001
offset = -2
deadband = 0.02
max_silence = "10s"
stale_after = "1m"
min = 0
max = 50
step = 0.5
access = "rw"
every = "500ms"
group = "fast"
[device.dev.point.mode]
enum = ["off", "on"]
`)
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	drv := newScript(writable("weight", drivers.Int), writable("mode", drivers.Text))
	if err := hub.CheckDevice(device("dev", drv, cfg)); err != nil {
		t.Fatal(err)
	}
	p := cfg.Point["weight"]
	if p.Every.Std() != 500*time.Millisecond || p.MaxSilence.Std() != 10*time.Second || *p.Scale != 0.001 || p.Step != 0.5 || cfg.StaleAfter == nil {
		t.Errorf("decoded: %+v", p)
	}
}

func TestWhatIsWrongWithADevice(t *testing.T) {
	t.Parallel()
	dur := func(d time.Duration) drivers.Duration { return drivers.Duration(d) }
	num := []drivers.Point{writable("p", drivers.Float), float("r")}
	text := []drivers.Point{{ID: "p", Type: drivers.Text, Writable: true, Enum: []string{"off", "on"}}}
	bounded := []drivers.Point{{ID: "p", Type: drivers.Float, Writable: true, Max: ptr(10.0)}}
	point := func(c hub.PointConfig) hub.DeviceConfig {
		return hub.DeviceConfig{Point: map[string]hub.PointConfig{"p": c}}
	}
	tests := []struct {
		name   string
		cfg    hub.DeviceConfig
		points []drivers.Point
		key    string
	}{
		{"every below the floor", hub.DeviceConfig{Every: ptr(dur(time.Millisecond))}, num, "every"},
		{"a timeout of a year", hub.DeviceConfig{Timeout: dur(8760 * time.Hour)}, num, "timeout"},
		{"a negative time", hub.DeviceConfig{MaxSilence: dur(-1)}, num, "max_silence"},
		{"retry turned round", hub.DeviceConfig{Retry: hub.RetryConfig{Min: dur(time.Minute), Max: dur(time.Second)}}, num, "retry.min"},
		{"parking before the first failure", hub.DeviceConfig{Retry: hub.RetryConfig{ParkAfter: -1}}, num, "retry.park_after"},
		{"a point that the driver does not have", hub.DeviceConfig{Point: map[string]hub.PointConfig{"q": {}}}, num, "point.q"},
		{"a point that is no name", hub.DeviceConfig{Point: map[string]hub.PointConfig{"A b": {}}}, num, "point.A b"},
		{"scale 0", point(hub.PointConfig{Scale: ptr(0.0)}), num, "point.p.scale"},
		{"scale that is no number", point(hub.PointConfig{Scale: ptr(math.NaN())}), num, "point.p.scale"},
		{"infinite offset", point(hub.PointConfig{Offset: math.Inf(1)}), num, "point.p.offset"},
		{"negative deadband", point(hub.PointConfig{Deadband: -1}), num, "point.p.deadband"},
		{"negative step", point(hub.PointConfig{Step: -1}), num, "point.p.step"},
		{"min above max", point(hub.PointConfig{Min: ptr(2.0), Max: ptr(1.0)}), num, "point.p.min"},
		{"min above what the device takes", point(hub.PointConfig{Min: ptr(11.0)}), bounded, "point.p.min"},
		{"access misspelt", point(hub.PointConfig{Access: "wr"}), num, "point.p.access"},
		{"writing a point that cannot be written", hub.DeviceConfig{Point: map[string]hub.PointConfig{"r": {Access: "rw"}}}, num, "point.r.access"},
		{"reading a point that cannot be read", point(hub.PointConfig{Access: "r"}), text, "point.p.access"},
		{"group that is no name", point(hub.PointConfig{Group: "a.b"}), num, "point.p.group"},
		{"every of a point below the floor", point(hub.PointConfig{Every: ptr(dur(1))}), num, "point.p.every"},
		{"stale_after of a point too long", point(hub.PointConfig{StaleAfter: ptr(dur(math.MaxInt64))}), num, "point.p.stale_after"},
		{"scale on a text", point(hub.PointConfig{Scale: ptr(2.0)}), text, "point.p.scale"},
		{"deadband on a text", point(hub.PointConfig{Deadband: 2.0}), text, "point.p.deadband"},
		{"max on a text", point(hub.PointConfig{Max: ptr(2.0)}), text, "point.p.max"},
		{"enum on a number", point(hub.PointConfig{Enum: []string{"a"}}), num, "point.p.enum"},
		{"enum beyond the device's", point(hub.PointConfig{Enum: []string{"on", "auto"}}), text, "point.p.enum"},
	}
	for _, tt := range tests {
		err := hub.CheckDevice(device("dev", newScript(tt.points...), tt.cfg))
		var c *drivers.ConfigError
		if !errors.As(err, &c) || c.Key != tt.key || c.Allowed == "" {
			t.Errorf("%s: error = %v, want one of key %s that says what is allowed", tt.name, err, tt.key)
		}
	}
	if err := (&hub.DeviceConfig{}).Validate(); err == nil {
		t.Error("a device without driver is accepted")
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"a": true, "0": true, "room_1": true, strings.Repeat("a", 64): true,
		"": false, "A": false, "a.b": false, "a-b": false, "ä": false, "a b": false, strings.Repeat("a", 65): false,
	} {
		if got := hub.ValidName(name); got != want {
			t.Errorf("ValidName(%q) = %v, want %v", name, got, want)
		}
	}
}

func TestUnknownKeyIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := decode(t, "[device.dev]\ndriver = \"x\"\nevry = \"1s\"\n"); err == nil {
		t.Error("an unknown key was accepted")
	}
}
