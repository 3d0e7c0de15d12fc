package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gantry/drivers"
	"gantry/drivers/frame"
)

type port struct {
	Path string `toml:"path"`
	Baud uint16 `toml:"baud"`
}

type common struct {
	Unit  string           `toml:"unit"`
	Every drivers.Duration `toml:"every"`
}

type first struct {
	Driver string  `toml:"driver"`
	Scale  float64 `toml:"scale"`
	Port   port    `toml:"port"`
	Limit  *int8   `toml:"limit"`
	common
	Hidden string             `toml:"-"`
	Points map[string]reading `toml:"point"`
}

// reading is the other half of a table that common is one half of.
type reading struct {
	From string  `toml:"from"`
	Gain float64 `toml:"gain"`
}

type second struct {
	Driver string            `toml:"driver"`
	Wait   time.Duration     `toml:"wait"`
	Names  []string          `toml:"names"`
	Points map[string]common `toml:"point"`
	Any    any               `toml:"any"`
	On     bool              `toml:"on"`
	Rows   []port            `toml:"row"`
}

func load(t *testing.T, text string) (first, second, []string) {
	t.Helper()
	doc, err := parse("x.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var a first
	var b second
	d := decoder{doc: doc}
	d.table(nil, doc.root, &a, &b)
	var lines []string
	for _, e := range d.errs {
		lines = append(lines, e.Error())
	}
	return a, b, lines
}

func TestTableFillsTheUnionOfItsTargets(t *testing.T) {
	t.Parallel()
	a, b, errs := load(t, `
driver = "line"
scale = 2
limit = -3
every = "1m30s"
wait = "250ms"
names = ["a", "b"]
any = { x = [1, "y"] }
on = true
[port]
path = "/dev/x"
baud = 9600
[point.temp]
unit = "Cel"
from = "t"
[[row]]
path = "p"
`)
	if errs != nil {
		t.Fatal(errs)
	}
	limit := int8(-3)
	wantA := first{
		Driver: "line", Scale: 2, Limit: &limit, Port: port{"/dev/x", 9600},
		Points: map[string]reading{"temp": {From: "t"}},
		common: common{Every: drivers.Duration(90 * time.Second)},
	}
	wantB := second{
		Driver: "line", Wait: 250 * time.Millisecond, Names: []string{"a", "b"}, On: true,
		Points: map[string]common{"temp": {Unit: "Cel"}}, Rows: []port{{Path: "p"}},
		Any: map[string]any{"x": []any{int64(1), "y"}},
	}
	if diff := cmp.Diff(wantA, a, cmp.AllowUnexported(first{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(wantB, b); diff != "" {
		t.Error(diff)
	}
}

func TestEveryFaultIsReportedWithItsLine(t *testing.T) {
	t.Parallel()
	_, _, errs := load(t, `
driver = 7
scael = 2
limit = 200
every = "soon"
wait = 5
names = ["a",
  3]
on = "yes"
hidden = ""
port = { path = "x",  baud = 70000 }
[point."the temp"]
scale = nan
unit = 1.5
[[row]]
path = "p"
[[row]]
paht = "p"
`)
	want := []string{
		`x.toml:2: driver: is an integer; allowed: a text in quotes`,
		`x.toml:5: every: "soon" is not a duration; allowed: a number with a unit, such as "300ms", "5s", "1m30s"`,
		`x.toml:10: hidden: unknown key; allowed: any, driver, every, limit, names, on, point, port, row, scale, unit, wait`,
		`x.toml:4: limit: 200 is out of range; allowed: an integer from -128 to 127`,
		`x.toml:8: names[1]: is an integer; allowed: a text in quotes`,
		`x.toml:9: on: is a text; allowed: true or false, without quotes`,
		`x.toml:13: point."the temp".scale: unknown key; allowed: every, from, gain, unit`,
		`x.toml:14: point."the temp".unit: is a number; allowed: a text in quotes`,
		`x.toml:11: port.baud: 70000 is out of range; allowed: an integer from 0 to 65535`,
		`x.toml:18: row[1].paht: unknown key, did you mean path?; allowed: baud, path`,
		`x.toml:3: scael: unknown key, did you mean scale?; allowed: any, driver, every, limit, names, on, point, port, row, scale, unit, wait`,
		`x.toml:6: wait: is an integer; allowed: a duration such as "500ms", "30s" or "24h"`,
	}
	if diff := cmp.Diff(want, errs); diff != "" {
		t.Error(diff)
	}
}

// A value that has a form of its own says which, also to a value of another type.
func TestATextSaysWhatItMayBe(t *testing.T) {
	t.Parallel()
	var into struct {
		Every  drivers.Duration `toml:"every"`
		Level  Level            `toml:"level"`
		Secret Secret           `toml:"secret"`
		From   frame.Bytes      `toml:"from"`
	}
	err := Decode("x.toml", []byte("every = 5\nlevel = true\nsecret = 1234\nfrom = 0x07\n"), &into)
	want := strings.Join([]string{
		`x.toml:1: every: is an integer; allowed: a number with a unit, such as "300ms", "5s", "1m30s"`,
		`x.toml:4: from: is an integer; allowed: pairs of hexadecimal digits, such as "FF 01"`,
		`x.toml:2: level: is true or false; allowed: "debug", "info", "warn", "error"`,
		`x.toml:3: secret: is an integer; allowed: "env:NAME" or "file:PATH"`,
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestSyntaxFaultsNameTheLine(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no value":       "a = 1\nb =\n",
		"key twice":      "a = 1\na = 2\n",
		"table twice":    "[t]\n[t]\n",
		"open quote":     "a = 1\nb = \"x\n",
		"bad characters": "a = 1\n\xff = 2\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := parse("x.toml", []byte(text))
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.HasPrefix(err.Error(), "x.toml:2: ") {
				t.Errorf("got %q, want line 2", err)
			}
		})
	}
}

func TestPathsOfRoomsAreFound(t *testing.T) {
	t.Parallel()
	doc, err := parse("x.toml", []byte("[[map]]\ntopic = 1\n[[map]]\ntopic = 2\n[dev.\"a b\"]\nport = { path = 1 }\n"))
	if err != nil {
		t.Fatal(err)
	}
	for key, line := range map[string]int{
		"map[1].topic":         4,
		"map.1.topic":          4,
		"map[0].unit":          1,
		"map":                  1,
		`dev."a b".port.path`:  6,
		`dev."a b".port.other`: 6,
		`dev."a b".other`:      5,
		"other":                0,
		"map[":                 1,
		"]..[":                 0,
	} {
		if got := doc.line(unshow(key)); got != line {
			t.Errorf("%s: line %d, want %d", key, got, line)
		}
	}
}

func TestDeepNestingIsRefusedInTime(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		strings.Repeat("a.", maxFile/2-4) + "a = 1",
		"a = " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
	} {
		if _, err := parse("x.toml", []byte(text)); err == nil || err.Allowed != "up to 16 levels" {
			t.Errorf("got %v", err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("a = 1\n[[b.c]]\nd = [{e = 1}, # x\n 2]\n[b.c.f]\n"))
	f.Add([]byte("a.b.\"c\" = 1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := parse("x.toml", data)
		if err != nil {
			return
		}
		for name := range doc.root {
			if doc.line([]string{name}) == 0 {
				t.Errorf("no line for %q in %q", name, data)
			}
		}
		var a first
		d := decoder{doc: doc}
		d.table(nil, doc.root, &a, &second{})
	})
}
