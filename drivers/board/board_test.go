package board_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gantry/drivers"
	"gantry/drivers/board"
	"gantry/drivers/drivertest"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func device(t testing.TB, cfg board.Config) *board.Driver {
	t.Helper()
	d, err := board.New(cfg, drivers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConformance(t *testing.T) {
	drivertest.Test(t, func(t *testing.T) drivers.Driver { return device(t, board.Config{}) })
}

// tree writes files below a new folder and returns it as /proc and /sys.
func tree(t testing.TB, files map[string]string) board.Config {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return board.Config{Proc: filepath.Join(root, "proc"), Sys: filepath.Join(root, "sys"), Disk: root}
}

// readings returns the values of all points, or the reason in its place.
func readings(t testing.TB, cfg board.Config) map[string]any {
	t.Helper()
	d := device(t, cfg)
	drivertest.Start(t, d).WaitUp(t, 1)
	all := map[string]any{}
	for _, p := range d.Describe().Points {
		got, err := d.Read(t.Context(), []string{p.ID})
		if err != nil || len(got) != 1 {
			t.Fatal(got, err)
		}
		all[p.ID] = got[0].Value
		if got[0].Quality == drivers.Bad {
			all[p.ID] = "why: " + got[0].Why
		}
	}
	return all
}

// withoutElsewhere drops the points that do not come from files.
func withoutElsewhere(all map[string]any) map[string]any {
	maps.DeleteFunc(all, func(id string, _ any) bool { return strings.HasPrefix(id, "disk_") || id == "time_synced" })
	return all
}

// pi is what a Raspberry Pi 4 with a weak supply shows.
func pi() map[string]string {
	return map[string]string{
		"proc/loadavg":                                        "0.52 0.58 0.59 1/189 4242\n",
		"proc/uptime":                                         "350735.47 1234567.00\n",
		"proc/meminfo":                                        "MemTotal:        4000 kB\nMemFree:          100 kB\nMemAvailable:    1000 kB\n",
		"sys/class/thermal/thermal_zone0/type":                "gpu-thermal\n",
		"sys/class/thermal/thermal_zone0/temp":                "1000\n",
		"sys/class/thermal/thermal_zone1/type":                "cpu-thermal\n",
		"sys/class/thermal/thermal_zone1/temp":                "48312\n",
		"sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
		"sys/class/hwmon/hwmon0/name":                         "cpu_thermal\n",
		"sys/class/hwmon/hwmon1/name":                         "rpi_volt\n",
		"sys/class/hwmon/hwmon1/in0_lcrit_alarm":              "0\n",
	}
}

func TestRaspberryPi(t *testing.T) {
	t.Parallel()
	want := map[string]any{
		"temperature": 48.312, "load_1": 0.52, "load_5": 0.58, "load_15": 0.59, "uptime": 350735.47,
		"memory_available": int64(1000 << 10), "memory_used": 75.0,
		"under_voltage": true, "frequency_capped": false, "throttled": true, "temperature_limited": false,
		"under_voltage_occurred": true, "frequency_capped_occurred": false, "throttled_occurred": true, "temperature_limited_occurred": false,
	}
	if diff := cmp.Diff(want, withoutElsewhere(readings(t, tree(t, pi())))); diff != "" {
		t.Error(diff)
	}
}

func TestVoltageWithoutFirmwareFile(t *testing.T) {
	t.Parallel()
	files := pi()
	delete(files, "sys/devices/platform/soc/soc:firmware/get_throttled")
	files["sys/class/hwmon/hwmon1/in0_lcrit_alarm"] = "1\n"
	got := readings(t, tree(t, files))
	if got["under_voltage"] != true || got["throttled"] != "why: unsupported" {
		t.Error(got)
	}
}

func TestThermalZoneByType(t *testing.T) {
	t.Parallel()
	for typ, want := range map[string]any{"gpu-thermal": 1.0, "nvme": "why: no_thermal_zone"} {
		cfg := tree(t, pi())
		cfg.ThermalZone = typ
		if got := readings(t, cfg)["temperature"]; got != want {
			t.Errorf("%s: %v, want %v", typ, got, want)
		}
	}
}

func TestAbsentAndGarbledPointsSayWhy(t *testing.T) {
	t.Parallel()
	for id, why := range withoutElsewhere(readings(t, tree(t, nil))) {
		if why != "why: unsupported" {
			t.Errorf("nothing there: %s is %v", id, why)
		}
	}
	for id, why := range withoutElsewhere(readings(t, tree(t, garbled()))) {
		if why != "why: garbled" {
			t.Errorf("garbage: %s is %v", id, why)
		}
	}
}

// garbled is pi with files that cannot be read.
func garbled() map[string]string {
	files := pi()
	for name := range files {
		if base := filepath.Base(name); base != "type" && base != "name" {
			files[name] = "-\xff\n"
		}
	}
	return files
}

// ofFiles is a driver without the point that the kernel tells as a number.
type ofFiles struct{ *board.Driver }

func (d ofFiles) Describe() drivers.Description {
	desc := d.Driver.Describe()
	desc.Points = slices.DeleteFunc(desc.Points, func(p drivers.Point) bool { return p.ID == "time_synced" })
	return desc
}

func TestGarbageIsNoValue(t *testing.T) {
	t.Parallel()
	cfg := tree(t, garbled())
	cfg.Disk += "/none"
	drivertest.GarbageIsNoValue(t, ofFiles{device(t, cfg)}, func() {})
}

func TestDiskThatIsNotThere(t *testing.T) {
	t.Parallel()
	cfg := tree(t, pi())
	cfg.Disk += "/none"
	if got := readings(t, cfg)["disk_used"]; got != "why: no_such_path" {
		t.Error(got)
	}
}

func TestThisMachine(t *testing.T) {
	t.Parallel()
	got := readings(t, board.Config{})
	for _, id := range []string{"load_1", "uptime", "memory_used", "disk_used"} {
		if v, ok := got[id].(float64); !ok || v < 0 || id != "uptime" && id != "load_1" && v > 100 {
			t.Errorf("%s is %v", id, got[id])
		}
	}
	if v, ok := got["memory_available"].(int64); !ok || v < 1<<20 {
		t.Errorf("memory_available is %v", got["memory_available"])
	}
	if _, ok := got["time_synced"].(bool); !ok {
		t.Errorf("time_synced is %v", got["time_synced"])
	}
	t.Log(got)
}

func TestRelativePathsAreRefused(t *testing.T) {
	t.Parallel()
	_, err := board.New(board.Config{Disk: "data"}, drivers.Env{})
	var c *drivers.ConfigError
	if !errors.As(err, &c) || c.Key != "disk" {
		t.Error(err)
	}
}
