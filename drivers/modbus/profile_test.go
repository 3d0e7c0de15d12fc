package modbus

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gantry/drivers"
	"gantry/internal/config"
)

func TestProfiles(t *testing.T) {
	t.Parallel()
	list := ProfileNames()
	if len(list) < 20 {
		t.Errorf("only %d profiles", len(list))
	}
	for _, name := range list {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := LoadProfile(name, config.Decode)
			if err != nil {
				t.Fatal(err)
			}
			if p.Description == "" || len(p.Source) < 20 || len(p.Points) == 0 {
				t.Errorf("description %q, source %q, %d points", p.Description, p.Source, len(p.Points))
			}
			cfg := Config{TCP: TCPConfig{Address: "192.0.2.1"}, Profile: name}
			d := newDriver(t, cfg, nil)
			if len(d.points) != len(p.Points) {
				t.Errorf("%d points of %d", len(d.points), len(p.Points))
			}
			for i, a := range d.points {
				if a.desc.Unit != "" && !isUCUM(a.desc.Unit) {
					t.Errorf("%s: %q is no UCUM code", a.id, a.desc.Unit)
				}
				for _, b := range d.points[i+1:] {
					if clash(a, b) {
						t.Errorf("%s and %s overlap", a.id, b.id)
					}
				}
			}
			checkLine(t, p)
		})
	}
}

// checkLine sees whether the device works on a serial line as shipped, if that is
// what it has.
func checkLine(t *testing.T, p *Profile) {
	t.Helper()
	if p.Line.Baud == 0 {
		return
	}
	if err := p.Line.Validate(); err != nil {
		t.Error(err)
	}
	if p.UnitID != nil && *p.UnitID > maxSerialUnit {
		t.Errorf("unit %d on a serial line", *p.UnitID)
	}
}

// clash reports whether two points claim the same bits. Parts of one register are
// different values, and so is a scale factor that several share.
func clash(a, b *point) bool {
	if !a.where.overlaps(b.where) {
		return a.exponent != nil && a.exponent.overlaps(b.where) || b.exponent != nil && b.exponent.overlaps(a.where)
	}
	if a.form.Bits == 0 || b.form.Bits == 0 || a.where != b.where {
		return true
	}
	return a.form.Bit < b.form.Bit+b.form.Bits && b.form.Bit < a.form.Bit+a.form.Bits
}

// The part of UCUM that the profiles use: factors joined by . and /, each a unit
// with prefix and annotation.
var (
	ucumFactor = regexp.MustCompile(`^(?:(?:[GMkmu]?(?:W|V|A|Hz|s|h|g|l|m|K|Ohm))|Cel|%|1|deg|min|h)?(?:\{[a-z]+\})?$`)
	ucumSplit  = regexp.MustCompile(`[./]`)
)

func isUCUM(s string) bool {
	parts := ucumSplit.Split(s, -1)
	return !slices.ContainsFunc(parts, func(p string) bool { return p == "" || !ucumFactor.MatchString(p) })
}

func TestUCUM(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"W", "kW.h", "V.A{reactive}", "kV.A.h{reactive}", "Cel", "%", "1", "Hz", "m/s"} {
		if !isUCUM(good) {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{"kWh", "VA", "var", "°C", "", "kvarh", "C", "hours", "W.", "KW"} {
		if isUCUM(bad) {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestAProfileIsWhatTheConfigurationChanges(t *testing.T) {
	t.Parallel()
	w := newWire(t, 0, map[byte]*unit{1: newUnit()})
	base := Config{Port: w.config(1, nil).Port, Profile: "xy_md02"}
	d := newDriver(t, base, nil)
	temperature := d.points[slices.IndexFunc(d.points, func(p *point) bool { return p.id == "temperature" })]
	if p := temperature.desc; p.Scale != 0.1 || p.Unit != "Cel" || p.Type != drivers.Int || p.Writable || temperature.where != (span{inputs, 1, 1}) {
		t.Errorf("%+v at %v", p, temperature.where)
	}
	if d.bus.line.Baud != 9600 || d.bus.line.Mode != "8N1" || !strings.HasPrefix(d.Describe().Model, "XY-MD02") {
		t.Errorf("%+v, %s", d.bus.line, d.Describe().Model)
	}
	own := base
	own.Line.Baud = 19200
	own.Select = []string{"temperature", "humidity"}
	own.Points = map[string]PointConfig{"temperature": {}, "extra": {Address: ptr(uint16(7))}}
	d = newDriver(t, own, nil)
	var ids []string
	for _, p := range d.Describe().Points {
		ids = append(ids, p.ID)
	}
	if strings.Join(ids, " ") != "extra humidity temperature" || d.bus.line.Baud != 19200 {
		t.Errorf("points %v, baud %d", ids, d.bus.line.Baud)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	t.Parallel()
	serial := func(f func(c *Config)) Config {
		c := Config{Points: map[string]PointConfig{"p": {Address: ptr(uint16(0))}}}
		c.Port.Path = "/dev/ttyUSB0"
		f(&c)
		return c
	}
	with := func(f func(p *PointConfig)) Config {
		return serial(func(c *Config) {
			p := c.Points["p"]
			f(&p)
			c.Points["p"] = p
		})
	}
	for _, tt := range []struct {
		name, key string
		cfg       Config
	}{
		{"neither port nor address", "port", serial(func(c *Config) { c.Port.Path = "" })},
		{"both", "port", serial(func(c *Config) { c.TCP.Address = "x" })},
		{"an address that is none", "tcp.address", serial(func(c *Config) { c.Port.Path = ""; c.TCP.Address = ":70000" })},
		{"framing without address", "tcp.address", serial(func(c *Config) { c.TCP.Framing = "rtu" })},
		{"framing", "tcp.framing", serial(func(c *Config) { c.Port.Path = ""; c.TCP = TCPConfig{Address: "x", Framing: "ascii"} })},
		{"a line over TCP", "line", serial(func(c *Config) { c.Port.Path = ""; c.TCP.Address = "x"; c.Line.Baud = 9600 })},
		{"baud", "line.baud", serial(func(c *Config) { c.Line.Baud = 1 })},
		{"unit", "unit_id", serial(func(c *Config) { c.UnitID = ptr(uint8(248)) })},
		{"timeout", "answer_timeout", serial(func(c *Config) { c.AnswerTimeout = drivers.Duration(1e12) })},
		{"retries", "retries", serial(func(c *Config) { c.Retries = ptr(uint8(9)) })},
		{"gap", "bus.gap", serial(func(c *Config) { c.Bus.Gap = drivers.Duration(1e10) })},
		{"turnaround", "bus.turnaround", serial(func(c *Config) { c.Bus.Turnaround = drivers.Duration(1e10) })},
		{"profile", "profile", serial(func(c *Config) { c.Profile = "../x" })},
		{"select without profile", "select", serial(func(c *Config) { c.Select = []string{"x"} })},
		{"a point without address", "point.p.address", with(func(p *PointConfig) { p.Address = nil })},
		{"registers in a read", "read.max_registers", serial(func(c *Config) { c.Read.MaxRegisters = 126 })},
		{"bits in a read", "read.max_bits", serial(func(c *Config) { c.Read.MaxBits = 2001 })},
		{"hole", "read.holes.0.from", serial(func(c *Config) { c.Read.Holes = []HoleConfig{{"input", 9, 8}} })},
		{"hole's table", "read.holes.0.table", serial(func(c *Config) { c.Read.Holes = []HoleConfig{{"", 1, 8}} })},
		{"table", "point.p.table", with(func(p *PointConfig) { p.Table = "register" })},
		{"type", "point.p.type", with(func(p *PointConfig) { p.Type = "float" })},
		{"order", "point.p.order", with(func(p *PointConfig) { p.Type = "f32"; p.Order = "cdba0" })},
		{"length without text", "point.p.length", with(func(p *PointConfig) { p.Length = 3 })},
		{"text without length", "point.p.length", with(func(p *PointConfig) { p.Type = "text" })},
		{"bits of a float", "point.p.bit", with(func(p *PointConfig) { p.Type = "f32"; p.Bit = ptr(uint8(1)) })},
		{"bits over the end", "point.p.bit", with(func(p *PointConfig) { p.Bit = ptr(uint8(14)); p.Bits = 3 })},
		{"a part written whole", "point.p.write", with(func(p *PointConfig) { p.Bit = ptr(uint8(1)); p.Write = "single" })},
		{"a mask without part", "point.p.write", with(func(p *PointConfig) { p.Write = "mask" })},
		{"two registers by the function for one", "point.p.write", with(func(p *PointConfig) { p.Type = "f32"; p.Write = "single" })},
		{"an input written", "point.p.write", with(func(p *PointConfig) { p.Table = "input"; p.Write = "single" })},
		{"a coil with a type", "point.p", with(func(p *PointConfig) { p.Table = "coil"; p.Type = "u16" })},
		{"exponent of a float", "point.p.exponent", with(func(p *PointConfig) { p.Type = "f32"; p.Exponent = ptr(uint16(1)) })},
		{"over the last address", "point.p.address", with(func(p *PointConfig) { p.Type = "u32"; p.Address = ptr(uint16(65535)) })},
		{"base over the last address", "point.p.address", serial(func(c *Config) { c.Base = 65535; c.Points["p"] = PointConfig{Address: ptr(uint16(1))} })},
		{"a read-only point for all units", "point.p.write", serial(func(c *Config) { c.UnitID = ptr(uint8(0)) })},
		{"proxy without address", "proxy.listen", serial(func(c *Config) { c.Proxy = &ProxyConfig{} })},
		{"proxy for too many", "proxy.max_connections", serial(func(c *Config) { c.Proxy = &ProxyConfig{Listen: ":1502", MaxConnections: 65} })},
		{"a profile's point with another type", "point.humidity", serial(func(c *Config) { c.Profile = "xy_md02"; c.Points = map[string]PointConfig{"humidity": {Type: "f32"}} })},
	} {
		_, err := New(tt.cfg, drivers.Env{}, NewBuses(), config.Decode)
		var ce *drivers.ConfigError
		if !errors.As(err, &ce) || ce.Key != tt.key || ce.Allowed == "" {
			t.Errorf("%s: %v, want key %s", tt.name, err, tt.key)
		}
	}
}

func TestProfilesAreDocumented(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "drivers", "modbus.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range ProfileNames() {
		p, err := LoadProfile(name, config.Decode)
		if err != nil {
			t.Fatal(err)
		}
		if row := "| `" + name + "` | " + p.Description + " |"; !strings.Contains(string(b), row) {
			t.Errorf("docs/drivers/modbus.md lacks this row:\n%s", row)
		}
	}
}

func TestDevicesAgree(t *testing.T) {
	t.Parallel()
	kind := NewKind(config.Decode)
	at := func(path string, f func(c *Config)) *Config {
		c := kind.Config().(*Config)
		c.Port.Path, c.Profile = path, "xy_md02" // 9600 8N1
		f(c)
		return c
	}
	got := kind.Agree(map[string]any{
		"a": at("/dev/ttyUSB0", func(c *Config) { c.Proxy = &ProxyConfig{Listen: ":1502"} }),
		"b": at("/dev/ttyUSB0", func(c *Config) { c.Profile = ""; c.Line.Mode = "8N1" }),
		"c": at("/dev/ttyUSB0", func(c *Config) { c.Line.Baud = 19200 }),
		"d": at("/dev/ttyUSB0", func(c *Config) { c.Bus.Echo = true }),
		"e": at("/dev/ttyUSB1", func(c *Config) { c.Line.Baud = 19200; c.Proxy = &ProxyConfig{Listen: ":1502"} }),
	})
	want := map[string]string{"c": "line.baud", "d": "bus.echo", "e": "proxy.listen"}
	if len(got) != len(want) {
		t.Errorf("%v", got)
	}
	for name, key := range want {
		var ce *drivers.ConfigError
		if !errors.As(got[name], &ce) || ce.Key != key || !strings.Contains(ce.Text, "device a") {
			t.Errorf("%s: %v", name, got[name])
		}
	}
}
