package board

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gantry/drivers"
	"gantry/internal/clocksync"

	"golang.org/x/sys/unix"
)

// The reasons why a point has no value, besides drivers.WhyUnsupported: this machine's
// kernel does not tell.
const (
	whyZone       = "no_thermal_zone" // none of the configured type
	whyPath       = "no_such_path"    // of the disk
	whyUnreadable = "unreadable"      // the kernel does not let us, or failed
	whyGarbled    = "garbled"         // not in the form that the kernel's documents promise
)

// point is a point and how its value is found out; why is "" when there is one.
type point struct {
	desc  drivers.Point
	probe func(*Config) (v drivers.Value, why string)
}

func points() []point {
	all := []point{
		{drivers.Point{ID: "temperature", Unit: "Cel", Description: "of the processor, or of the configured thermal zone"}, temperature},
		{drivers.Point{ID: "load_1", Description: "processes that run or wait, mean of 1 minute"}, load(0)},
		{drivers.Point{ID: "load_5", Description: "the same of 5 minutes"}, load(1)},
		{drivers.Point{ID: "load_15", Description: "the same of 15 minutes"}, load(2)},
		{drivers.Point{ID: "memory_available", Type: drivers.Int, Unit: "By", Description: "memory that programs can have without swapping"}, memory(available)},
		{drivers.Point{ID: "memory_used", Unit: "%", Description: "memory that is not available"}, memory(used)},
		{drivers.Point{ID: "disk_available", Type: drivers.Int, Unit: "By", Description: "space on the disk for programs without privileges"}, disk(available)},
		{drivers.Point{ID: "disk_used", Unit: "%", Description: "part of the disk that is not available"}, disk(used)},
		{drivers.Point{ID: "time_synced", Type: drivers.Bool, Description: "something keeps the clock right"}, timeSynced},
		{drivers.Point{ID: "uptime", Unit: "s", Description: "time since the start of the machine"}, uptime},
		{drivers.Point{ID: "under_voltage", Type: drivers.Bool, Description: "the supply is below 4.63 V now (Raspberry Pi)"}, underVoltage},
	}
	for _, f := range []struct {
		id, description string
		bit             uint
	}{
		{"frequency_capped", "the processor may not run at full speed now (Raspberry Pi)", 1},
		{"throttled", "the processor is slowed down now (Raspberry Pi)", 2},
		{"temperature_limited", "the soft temperature limit is active now (Raspberry Pi)", 3},
		{"under_voltage_occurred", "the supply has been too low since the start (Raspberry Pi)", 16},
		{"frequency_capped_occurred", "the frequency has been capped since the start (Raspberry Pi)", 17},
		{"throttled_occurred", "the processor has been slowed down since the start (Raspberry Pi)", 18},
		{"temperature_limited_occurred", "the soft temperature limit has been active since the start (Raspberry Pi)", 19},
	} {
		all = append(all, point{drivers.Point{ID: f.id, Type: drivers.Bool, Description: f.description}, throttle(f.bit)})
	}
	for i := range all {
		all[i].desc.Readable = true
	}
	return all
}

// maxFile bounds what is read of one of the kernel's files.
const maxFile = 64 << 10

// read returns a file's text without the white space around it.
func read(elem ...string) (text, why string) {
	f, err := os.Open(filepath.Join(elem...))
	if errors.Is(err, fs.ErrNotExist) {
		return "", drivers.WhyUnsupported
	}
	if err != nil {
		return "", whyUnreadable
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return "", whyUnreadable
	}
	return strings.TrimSpace(string(b)), ""
}

// temperature reads a thermal zone: thousandths of a degree.
func temperature(cfg *Config) (drivers.Value, string) {
	zone, why := thermalZone(cfg)
	if why != "" {
		return nil, why
	}
	text, why := read(zone, "temp")
	if why != "" {
		return nil, why
	}
	return celsius(text)
}

// celsius returns the degrees of a number of thousandths.
func celsius(text string) (drivers.Value, string) {
	milli, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return nil, whyGarbled
	}
	return float64(milli) / 1000, ""
}

// thermalZone returns the folder of the zone that is configured, or else that of the
// processor, whose name differs from board to board, or else the first.
func thermalZone(cfg *Config) (dir, why string) {
	zones, err := filepath.Glob(filepath.Join(cfg.Sys, "class", "thermal", "thermal_zone*"))
	if err != nil || len(zones) == 0 {
		return "", drivers.WhyUnsupported
	}
	for _, zone := range zones {
		typ, _ := read(zone, "type")
		switch {
		case cfg.ThermalZone != "" && typ == cfg.ThermalZone:
			return zone, ""
		case cfg.ThermalZone != "":
		case strings.HasPrefix(typ, "cpu"), strings.HasPrefix(typ, "soc"), typ == "x86_pkg_temp":
			return zone, ""
		}
	}
	if cfg.ThermalZone != "" {
		return "", whyZone
	}
	return zones[0], ""
}

// load returns the probe of one of the three means in /proc/loadavg.
func load(which int) func(*Config) (drivers.Value, string) {
	return func(cfg *Config) (drivers.Value, string) {
		text, why := read(cfg.Proc, "loadavg")
		if why != "" {
			return nil, why
		}
		return decimal(text, which)
	}
}

// uptime reads the first number of /proc/uptime.
func uptime(cfg *Config) (drivers.Value, string) {
	text, why := read(cfg.Proc, "uptime")
	if why != "" {
		return nil, why
	}
	return decimal(text, 0)
}

// decimal returns one of the numbers of a line, none of which is negative.
func decimal(text string, which int) (drivers.Value, string) {
	fields := strings.Fields(text)
	if which >= len(fields) {
		return nil, whyGarbled
	}
	f, err := strconv.ParseFloat(fields[which], 64)
	if err != nil || !(f >= 0 && f <= math.MaxFloat64) {
		return nil, whyGarbled
	}
	return f, ""
}

// amount says what is wanted of a total and what is available of it, in bytes.
type amount func(total, available uint64) (drivers.Value, string)

func available(_, available uint64) (drivers.Value, string) {
	return int64(min(available, math.MaxInt64)), ""
}

func used(total, available uint64) (drivers.Value, string) {
	if total == 0 || available > total {
		return nil, whyGarbled
	}
	return 100 * float64(total-available) / float64(total), ""
}

func memory(wanted amount) func(*Config) (drivers.Value, string) {
	return func(cfg *Config) (drivers.Value, string) {
		text, why := read(cfg.Proc, "meminfo")
		if why != "" {
			return nil, why
		}
		return ofMemory(text, wanted)
	}
}

// ofMemory returns what is wanted of the text of /proc/meminfo.
func ofMemory(text string, wanted amount) (drivers.Value, string) {
	total, okTotal := meminfo(text, "MemTotal")
	available, okAvailable := meminfo(text, "MemAvailable")
	if !okTotal || !okAvailable {
		return nil, whyGarbled
	}
	return wanted(total, available)
}

// meminfo returns the bytes of a line such as "MemTotal:  3884112 kB".
func meminfo(text, key string) (uint64, bool) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, key+":")
		if !ok {
			continue
		}
		kb, ok := strings.CutSuffix(strings.TrimSpace(rest), " kB")
		n, err := strconv.ParseUint(strings.TrimSpace(kb), 10, 53)
		return n << 10, ok && err == nil
	}
	return 0, false
}

func disk(wanted amount) func(*Config) (drivers.Value, string) {
	return func(cfg *Config) (drivers.Value, string) {
		var s unix.Statfs_t
		err := unix.Statfs(cfg.Disk, &s)
		switch {
		case errors.Is(err, unix.ENOENT):
			return nil, whyPath
		case err != nil || s.Bsize <= 0:
			return nil, whyUnreadable
		}
		// As df(1) counts: what is reserved for root does not exist.
		block := uint64(s.Bsize)
		return wanted((s.Blocks-s.Bfree+s.Bavail)*block, s.Bavail*block)
	}
}

func timeSynced(*Config) (drivers.Value, string) { return clocksync.Synced(), "" }

// throttle returns the probe of one bit of what the firmware says.
func throttle(bit uint) func(*Config) (drivers.Value, string) {
	return func(cfg *Config) (drivers.Value, string) {
		// soc:firmware up to the Raspberry Pi 4, with an address in the names on later ones.
		files, err := filepath.Glob(filepath.Join(cfg.Sys, "devices", "platform", "soc*", "*firmware", "get_throttled"))
		if err != nil || len(files) == 0 {
			return nil, drivers.WhyUnsupported
		}
		text, why := read(files[0])
		if why != "" {
			return nil, why
		}
		return flag(text, bit)
	}
}

// flag returns a bit of a hexadecimal number.
func flag(text string, bit uint) (drivers.Value, string) {
	flags, err := strconv.ParseUint(strings.TrimPrefix(text, "0x"), 16, 32)
	if err != nil {
		return nil, whyGarbled
	}
	return flags>>bit&1 == 1, ""
}

// underVoltage asks the firmware and, where the kernel does not hand that on, the
// hwmon driver rpi_volt, whose alarm is the same flag.
func underVoltage(cfg *Config) (drivers.Value, string) {
	v, why := throttle(0)(cfg)
	if why != drivers.WhyUnsupported {
		return v, why
	}
	names, err := filepath.Glob(filepath.Join(cfg.Sys, "class", "hwmon", "hwmon*", "name"))
	if err != nil {
		return nil, drivers.WhyUnsupported
	}
	for _, name := range names {
		if driver, _ := read(name); driver != "rpi_volt" {
			continue
		}
		text, why := read(filepath.Dir(name), "in0_lcrit_alarm")
		switch {
		case why != "":
			return nil, why
		case text == "0" || text == "1":
			return text == "1", ""
		}
		return nil, whyGarbled
	}
	return nil, drivers.WhyUnsupported
}
