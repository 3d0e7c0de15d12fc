package line_test

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/line"
	"gantry/drivers/serialport"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// take returns what a driver makes of one line: "garbage: why", or the readings.
func take(t testing.TB, d *line.Driver, text string) ([]drivers.Reading, string) {
	t.Helper()
	link := &drivertest.Link{}
	d.Take([]byte(text), link)
	g := link.AllGarbage()
	switch {
	case len(g) > 1:
		t.Fatalf("one line was counted as garbage %d times", len(g))
	case len(g) == 1:
		return link.Readings(), g[0].Why
	}
	return link.Readings(), ""
}

// reads is a configuration whose points a, b ... are read from the fields of the
// same name and have the types given.
func reads(parse line.ParseConfig, types map[string]string) line.Config {
	cfg := line.Config{Port: serialport.Config{Path: "/dev/null"}, Parse: parse, Points: map[string]line.PointConfig{}}
	for name, typ := range types {
		cfg.Points[strings.NewReplacer(".", "_").Replace(name)] = line.PointConfig{From: name, Type: typ}
	}
	return cfg
}

func newDriver(t testing.TB, cfg line.Config) *line.Driver {
	t.Helper()
	d, err := line.New(cfg, drivers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func good(point string, v any) drivers.Reading { return drivers.Reading{Point: point, Value: v} }

func bad(point, why string) drivers.Reading {
	return drivers.Reading{Point: point, Quality: drivers.Bad, Why: why}
}

func doubtful(point string, v any, field string) drivers.Reading {
	return drivers.Reading{Point: point, Value: v, Quality: drivers.Uncertain, Why: field}
}

func TestLinesBecomeReadings(t *testing.T) {
	t.Parallel()
	weight := reads(line.ParseConfig{Regex: `^(?P<flag>\w+),\s*(?P<kg>\S+)kg(?: (?P<note>.*))?$`},
		map[string]string{"kg": "float", "note": "text"})
	p := weight.Points["kg"]
	p.GoodIf = map[string]any{"flag": []any{"ST", "OK"}}
	weight.Points["kg"] = p
	number := reads(line.ParseConfig{Regex: `^(?P<v>.*)$`}, map[string]string{"v": "float"})
	comma := reads(line.ParseConfig{Regex: `^(?P<v>.*)$`, Decimal: ","}, map[string]string{"v": "float"})
	whole := reads(line.ParseConfig{Regex: `^(?P<v>.*)$`}, map[string]string{"v": "int"})
	state := reads(line.ParseConfig{Regex: `^(?P<v>.*)$`}, map[string]string{"v": "bool"})
	door := reads(line.ParseConfig{Regex: `^(?P<v>.*)$`}, nil)
	door.Points["v"] = line.PointConfig{From: "v", Type: "bool", True: "OPEN", False: "SHUT"}
	text := reads(line.ParseConfig{Regex: `^(?P<v>(?s:.*))$`}, map[string]string{"v": "text"})
	object := reads(line.ParseConfig{JSON: true, GoodIf: map[string]any{"ok": true}},
		map[string]string{"env.t": "float", "list.1": "int", "on": "bool", "name": "text"})
	column := reads(line.ParseConfig{CSV: []string{"t", "", "s", "n"}},
		map[string]string{"t": "float", "s": "text", "n": "int"})
	german := reads(line.ParseConfig{CSV: []string{"t", "u"}, Comma: ";", Decimal: ","},
		map[string]string{"t": "float", "u": "float"})
	tabs := reads(line.ParseConfig{CSV: []string{"a", "b"}, Comma: "\t"}, map[string]string{"a": "float", "b": "text"})
	commands := line.Config{Port: serialport.Config{Path: "/dev/null"},
		Actions: map[string]line.ActionConfig{"go": {Template: "GO\n", Ack: "^GONE"}}}
	comments := reads(line.ParseConfig{JSON: true, Ignore: []string{"^#", "^BOOT "}}, map[string]string{"t": "float"})

	for _, c := range []struct {
		name string
		cfg  line.Config
		line string
		want []drivers.Reading
		why  string
	}{
		{"groups are fields", weight, "ST, +12.34kg", []drivers.Reading{good("kg", 12.34)}, ""},
		{"an optional group that takes part", weight, "OK,1kg tare", []drivers.Reading{good("kg", 1.0), good("note", "tare")}, ""},
		{"a flag that is not in the list", weight, "US,1kg", []drivers.Reading{doubtful("kg", 1.0, "flag")}, ""},
		{"no match", weight, "ST 12.34", nil, "no_match"},
		{"a match whose value is no number", weight, "ST,--kg", []drivers.Reading{bad("kg", "not_a_number")}, ""},

		{"exponent", number, "-1.5e-3", []drivers.Reading{good("v", -0.0015)}, ""},
		{"no digit in front", number, ".5", []drivers.Reading{good("v", 0.5)}, ""},
		{"no digit behind", number, "5.", []drivers.Reading{good("v", 5.0)}, ""},
		{"leading zeroes", number, "+007", []drivers.Reading{good("v", 7.0)}, ""},
		{"hexadecimal", number, "0x10", []drivers.Reading{bad("v", "not_a_number")}, ""},
		{"underscore", number, "1_000", []drivers.Reading{bad("v", "not_a_number")}, ""},
		{"nan", number, "NaN", []drivers.Reading{bad("v", "not_a_number")}, ""},
		{"infinity", number, "-inf", []drivers.Reading{bad("v", "not_a_number")}, ""},
		{"too large", number, "1e999", []drivers.Reading{bad("v", "out_of_range")}, ""},
		{"two points", number, "1.2.3", []drivers.Reading{bad("v", "not_a_number")}, ""},
		{"trailing text", number, "21.5C", []drivers.Reading{bad("v", "not_a_number")}, ""},
		{"a point alone", number, ".", []drivers.Reading{bad("v", "not_a_number")}, ""},
		{"an exponent alone", number, "e5", []drivers.Reading{bad("v", "not_a_number")}, ""},
		{"an unfinished exponent", number, "1e", []drivers.Reading{bad("v", "not_a_number")}, ""},
		{"other digits", number, "٣", []drivers.Reading{bad("v", "not_a_number")}, ""},
		{"decimal comma", comma, "21,5", []drivers.Reading{good("v", 21.5)}, ""},
		{"point for decimal comma", comma, "1.234", []drivers.Reading{bad("v", "not_a_number")}, ""},
		{"point and comma", comma, "1.234,5", []drivers.Reading{bad("v", "not_a_number")}, ""},
		{"comma for decimal point", number, "21,5", []drivers.Reading{bad("v", "not_a_number")}, ""},

		{"whole number", whole, "-42", []drivers.Reading{good("v", int64(-42))}, ""},
		{"fraction for int", whole, "4.0", []drivers.Reading{bad("v", "not_a_number")}, ""},
		{"too large for int", whole, "9223372036854775808", []drivers.Reading{bad("v", "out_of_range")}, ""},
		{"word for true", state, "On", []drivers.Reading{good("v", true)}, ""},
		{"digit for false", state, "0", []drivers.Reading{good("v", false)}, ""},
		{"neither true nor false", state, "2", []drivers.Reading{bad("v", "not_a_bool")}, ""},
		{"own text for true", door, "OPEN", []drivers.Reading{good("v", true)}, ""},
		{"own text for false", door, "SHUT", []drivers.Reading{good("v", false)}, ""},
		{"own texts replace the usual ones", door, "1", []drivers.Reading{bad("v", "not_a_bool")}, ""},
		{"text", text, "grüß dich", []drivers.Reading{good("v", "grüß dich")}, ""},
		{"text that is not UTF-8", text, "gr\xfc\xdf dich", []drivers.Reading{bad("v", "not_text")}, ""},

		{"paths into JSON", object, ` {"env":{"t":21.5},"list":[1,2],"on":true,"name":"x","ok":true}`,
			[]drivers.Reading{good("env_t", 21.5), good("list_1", int64(2)), good("name", "x"), good("on", true)}, ""},
		{"a device that doubts itself", object, `{"env":{"t":1},"ok":false}`, []drivers.Reading{doubtful("env_t", 1.0, "ok")}, ""},
		{"a condition that is absent", object, `{"env":{"t":1}}`, []drivers.Reading{doubtful("env_t", 1.0, "ok")}, ""},
		{"a number as text", object, `{"env":{"t":"1.5"},"ok":true}`, []drivers.Reading{good("env_t", 1.5)}, ""},
		{"null", object, `{"env":{"t":null},"ok":true}`, []drivers.Reading{bad("env_t", "null")}, ""},
		{"true for a number", object, `{"env":{"t":true},"ok":true}`, []drivers.Reading{bad("env_t", "not_a_number")}, ""},
		{"an object for a number", object, `{"env":{"t":{"v":1}},"ok":true}`, []drivers.Reading{bad("env_t", "not_a_number")}, ""},
		{"fraction for an int in JSON", object, `{"list":[1,2.5],"ok":true}`, []drivers.Reading{bad("list_1", "not_a_number")}, ""},
		{"none of the fields", object, `{"humidity":3}`, nil, "no_field"},
		{"cut off", object, `{"env":{"t":21.5`, nil, "not_json"},
		{"two objects", object, `{"env":{"t":1}}{"env":{"t":2}}`, nil, "not_json"},
		{"a bare number", object, `21.5`, nil, "not_json"},
		{"leading zero in JSON", object, `{"env":{"t":021.5}}`, nil, "not_json"},
		{"nested too deep", object, strings.Repeat("[", 33) + strings.Repeat("]", 33), nil, "too_deep"},
		{"brackets in a text do not nest", object, `{"name":"` + strings.Repeat("[", 99) + `\"","ok":true}`,
			[]drivers.Reading{good("name", strings.Repeat("[", 99)+`"`)}, ""},

		{"columns", column, "21.5, x ,ok,7", []drivers.Reading{good("n", int64(7)), good("s", "ok"), good("t", 21.5)}, ""},
		{"quoted columns", column, `21.5,"a,b","say ""hi""",7`, []drivers.Reading{good("n", int64(7)), good("s", `say "hi"`), good("t", 21.5)}, ""},
		{"an empty column", column, ",,,7", []drivers.Reading{good("n", int64(7)), good("s", ""), bad("t", "not_a_number")}, ""},
		{"too few columns", column, "21.5,x,ok", nil, "columns"},
		{"too many columns", column, "21.5,x,ok,7,8", nil, "columns"},
		{"a stray quote", column, `21.5,x"y,ok,7`, nil, "not_csv"},
		{"an open quote", column, `21.5,"x,ok,7`, nil, "not_csv"},
		{"semicolon and decimal comma", german, "21,5;1013,25", []drivers.Reading{good("t", 21.5), good("u", 1013.25)}, ""},
		{"empty columns between tabs", tabs, "1\t", []drivers.Reading{good("a", 1.0), good("b", "")}, ""},

		{"a line of a device without readings", commands, "hello", nil, "no_match"},
		{"a late answer is no garbage", commands, "GONE", nil, ""},
		{"lines to ignore", comments, "# 21.5", nil, ""},
		{"lines that are not ignored", comments, "BOOTED", nil, "not_json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, why := take(t, newDriver(t, c.cfg), c.line)
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(drivers.Reading{}, "Time")); diff != "" {
				t.Error(diff)
			}
			if why != c.why {
				t.Errorf("garbage %q, want %q", why, c.why)
			}
		})
	}
}

// A line is one reading or garbage, never some of both, and fields of the line
// before do not show.
func TestNothingIsKeptFromTheLineBefore(t *testing.T) {
	t.Parallel()
	d := newDriver(t, reads(line.ParseConfig{Regex: `^(?:a(?P<a>\d)|b(?P<b>\d))$`}, map[string]string{"a": "int", "b": "int"}))
	for _, c := range []struct{ line, point string }{{"a1", "a"}, {"b2", "b"}, {"a3", "a"}} {
		got, _ := take(t, d, c.line)
		if len(got) != 1 || got[0].Point != c.point {
			t.Errorf("%s: %v", c.line, got)
		}
	}
}

var decimal = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$`)

// tokens returns the numbers that stand in text between the separators.
func tokens(text, separators string, comma bool) (all []float64) {
	words := strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(separators, r) })
	for _, w := range words {
		if comma {
			w = strings.Replace(w, ",", ".", 1)
		}
		if n, err := strconv.ParseFloat(w, 64); err == nil && decimal.MatchString(w) {
			all = append(all, n)
		}
	}
	return all
}

// jsonNumbers returns the numbers in text, and the texts that are numbers, as the
// standard library reads them.
func jsonNumbers(text string) (all []float64) {
	r := json.NewDecoder(bytes.NewReader([]byte(text)))
	r.UseNumber()
	for {
		tok, err := r.Token()
		switch v := tok.(type) {
		case json.Number:
			n, _ := v.Float64()
			all = append(all, n)
		case string:
			all = append(all, tokens(v, "", false)...)
		}
		if err == io.EOF {
			return all
		}
		if err != nil {
			return nil
		}
	}
}

// Whatever comes over the wire: a number that is published stands in the line.
func FuzzLine(f *testing.F) {
	kinds := map[string]string{"a": "float", "b": "int", "c": "bool", "d": "text"}
	type form struct {
		d       *line.Driver
		numbers func(string) []float64
	}
	forms := []form{
		{newDriver(f, reads(line.ParseConfig{Regex: `^(?P<a>\S+) (?P<b>\S+) (?P<c>\S+) (?P<d>.*)$`}, kinds)),
			func(s string) []float64 { return tokens(s, "", false) }},
		{newDriver(f, reads(line.ParseConfig{JSON: true}, kinds)), jsonNumbers},
		{newDriver(f, reads(line.ParseConfig{CSV: []string{"a", "b", "c", "d"}}, kinds)),
			func(s string) []float64 { return tokens(s, `,"`, false) }},
		{newDriver(f, reads(line.ParseConfig{CSV: []string{"a", "b", "c", "d"}, Comma: ";", Decimal: ","}, kinds)),
			func(s string) []float64 { return append(tokens(s, `;"`, true), tokens(s, `;"`, false)...) }},
	}
	for _, s := range []string{
		"21.5 7 on text", "1e5 -3 OFF ", `{"a":21.5,"b":7,"c":true,"d":"x"}`, `{"a":"\u0031","b":[1]}`,
		`{"a":1}{"a":2}`, `[{"a":1}]`, "21.5,7,1,x", `"21.5","7","on","a,""b"`, "21,5;7;0;x", "0x1,1_0,nan,\xff", "\x00\xfe,,,", "1\r2;3;4;5",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for i, form := range forms {
			before := bytes.Clone(text)
			got, why := take(t, form.d, string(text))
			if !bytes.Equal(before, text) {
				t.Fatalf("form %d has changed the line", i)
			}
			if (why == "") != (len(got) > 0) {
				t.Errorf("form %d: %q: readings %v and garbage %q", i, text, got, why)
			}
			var numbers []float64
			for _, r := range got {
				if (r.Value == nil) != (r.Quality == drivers.Bad) || (r.Why == "") != (r.Quality == drivers.Good) {
					t.Errorf("form %d: %q: %+v", i, text, r)
				}
				var n float64
				switch v := r.Value.(type) {
				case float64:
					n = v
				case int64:
					n = float64(v)
				default:
					continue
				}
				if numbers == nil {
					numbers = form.numbers(string(text))
				}
				if math.IsNaN(n) || math.IsInf(n, 0) || !slices.Contains(numbers, n) {
					t.Errorf("form %d: %q: %+v stands nowhere in the line", i, text, r)
				}
			}
		}
	})
}
