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
calibrate = [[0.0, 0.1], [50.0, 49.8]]
median = 3
debounce = "50ms"
window = { every = "1m", of = "mean" }
throttle = "2m"
verify = "1s"
limit = { every = "1s", max_on = "30m", min_off = "2m", not_with = ["bit", "valve.run"] }
safe = { value = 0.0, after = "1m" }
[device.dev.point.mode]
enum = ["off", "on"]
safe = { value = "off" }
[device.dev.point.mode2]
map = { 0 = "off", 1 = "on" }
[device.dev.point.bit]
mask = 0x10
access = "r"
`)
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	drv := newScript(writable("weight", drivers.Int), writable("mode", drivers.Text), writable("mode2", drivers.Int), writable("bit", drivers.Int))
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
	whole := []drivers.Point{writable("p", drivers.Int)}
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
		{"parking before the first failure", hub.DeviceConfig{Retry: hub.RetryConfig{ParkAfter: ptr(-1)}}, num, "retry.park_after"},
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
		{"a mask on a float", point(hub.PointConfig{Mask: 1}), num, "point.p.mask"},
		{"a mask on a point that is written blind", point(hub.PointConfig{Mask: 1}), whole, "point.p.mask"},
		{"a map of one name for two values, written", point(hub.PointConfig{Map: map[string]string{"0": "a", "1": "a"}}), whole, "point.p.map"},
		{"a table that turns round, written", point(hub.PointConfig{Calibrate: [][]float64{{0, 0}, {1, 1}, {2, 0}}}), whole, "point.p.calibrate"},
		{"an even median", point(hub.PointConfig{Median: 4}), num, "point.p.median"},
		{"a window of what", point(hub.PointConfig{Window: hub.WindowConfig{Every: dur(time.Second)}}), num, "point.p.window.of"},
		{"a window of nothing", point(hub.PointConfig{Window: hub.WindowConfig{Of: "min"}}), num, "point.p.window.every"},
		{"a debounce of a year", point(hub.PointConfig{Debounce: dur(8760 * time.Hour)}), num, "point.p.debounce"},
		{"a deadband on names", point(hub.PointConfig{Map: map[string]string{"0": "a"}, Deadband: 1}), whole, "point.p.deadband"},
		{"verify on a point that says nothing", point(hub.PointConfig{Verify: dur(time.Second)}), text, "point.p.verify"},
		{"verify on a point that is not written", hub.DeviceConfig{Point: map[string]hub.PointConfig{"r": {Verify: dur(time.Second)}}}, num, "point.r.verify"},
		{"a limit on a point that is not written", hub.DeviceConfig{Point: map[string]hub.PointConfig{"r": {Limit: hub.LimitConfig{Every: dur(time.Second)}}}}, num, "point.r.limit.every"},
		{"max_on of a text", point(hub.PointConfig{Limit: hub.LimitConfig{MaxOn: dur(time.Second)}}), text, "point.p.limit.max_on"},
		{"max_on of what cannot be 0", point(hub.PointConfig{Min: ptr(1.0), Limit: hub.LimitConfig{MaxOn: dur(time.Second)}}), num, "point.p.limit.max_on"},
		{"an interlock with itself", point(hub.PointConfig{Limit: hub.LimitConfig{NotWith: []string{"dev.p"}}}), num, "point.p.limit.not_with"},
		{"an interlock with nobody", point(hub.PointConfig{Limit: hub.LimitConfig{NotWith: []string{"q"}}}), num, "point.p.limit.not_with"},
		{"an interlock with no name", point(hub.PointConfig{Limit: hub.LimitConfig{NotWith: []string{"a.b.c"}}}), num, "point.p.limit.not_with"},
		{"an interlock with a text", hub.DeviceConfig{Point: map[string]hub.PointConfig{"p": {Map: map[string]string{"0": "a"}}, "w": {Limit: hub.LimitConfig{NotWith: []string{"p"}}}}},
			[]drivers.Point{writable("p", drivers.Int), writable("w", drivers.Bool)}, "point.w.limit.not_with"},
		{"no safe value", point(hub.PointConfig{Safe: &hub.SafeConfig{}}), num, "point.p.safe.value"},
		{"a safe value of another type", point(hub.PointConfig{Safe: &hub.SafeConfig{Value: "off"}}), num, "point.p.safe.value"},
		{"a safe value out of range", point(hub.PointConfig{Safe: &hub.SafeConfig{Value: 11.0}}), bounded, "point.p.safe.value"},
		{"a safe value of a point that is not written", hub.DeviceConfig{Point: map[string]hub.PointConfig{"r": {Safe: &hub.SafeConfig{Value: 1.0}}}}, num, "point.r.safe"},
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
