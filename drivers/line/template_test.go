package line_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"gantry/drivers/line"
)

func TestTemplatesSayWhatIsSent(t *testing.T) {
	t.Parallel()
	two := uint8(2)
	point := func(typ, template string, decimals *uint8) line.PointConfig {
		return line.PointConfig{Type: typ, Write: &line.WriteConfig{Template: template, Decimals: decimals}}
	}
	door := point("bool", "DOOR {value}\n", nil)
	door.True, door.False = "OPEN", "SHUT"
	cfg := line.Config{
		Points: map[string]line.PointConfig{
			"plain":   point("float", "SET {value}\n", nil),
			"rounded": point("float", "SET {value}\n", &two),
			"whole":   point("int", "SET {value}\n", nil),
			"twice":   point("int", "SET {value} {value}\n", nil),
			"lamp":    point("bool", "LAMP {value}\n", nil),
			"door":    door,
			"object":  point("text", `{"cmd":{"say":"{value}"}}`+"\n", nil),
			"bare":    point("text", "SAY {value}\n", nil),
		},
		Actions: map[string]line.ActionConfig{
			"move": {Template: "MOVE {axis} {to}\n", Args: map[string]line.ArgConfig{
				"axis": {Type: "text", Enum: []string{"x", "y"}}, "to": {Type: "float"}}},
		},
	}
	b := newBoard(t)
	d, _ := b.start(cfg)
	for _, c := range []struct {
		point string
		v     any
		want  string
	}{
		{"plain", 21.5, "SET 21.5"},
		{"plain", 1e21, "SET 1000000000000000000000"}, // few devices know exponents
		{"plain", int64(-3), "SET -3"},
		{"rounded", 1.005, "SET 1.00"},
		{"rounded", -2.0, "SET -2.00"},
		{"whole", 7.0, "SET 7"},
		{"twice", int64(7), "SET 7 7"},
		{"lamp", true, "LAMP 1"},
		{"lamp", false, "LAMP 0"},
		{"door", true, "DOOR OPEN"},
		{"object", `a"},{"cmd":"\`, `{"cmd":{"say":"a\"},{\"cmd\":\"\\"}}`},
		{"object", "grün", `{"cmd":{"say":"grün"}}`},
		{"bare", `a "b"`, `SAY a "b"`},
		{"bare", "{value}", "SAY {value}"},
	} {
		if got, err := d.Write(t.Context(), c.point, c.v); err != nil || got != c.v {
			t.Errorf("%s = %v: %v, %v", c.point, c.v, got, err)
			continue
		}
		if got := b.next(); got != c.want {
			t.Errorf("%s = %v: sent %q, want %q", c.point, c.v, got, c.want)
		}
	}
	if _, err := d.Do(t.Context(), "move", map[string]any{"axis": "y", "to": 1.5}, func(any) {}); err != nil {
		t.Error(err)
	}
	if got := b.next(); got != "MOVE y 1.5" {
		t.Errorf("sent %q", got)
	}

	for point, values := range map[string][]any{
		"plain": {"1", nil, true, math.NaN(), math.Inf(1)},
		"whole": {1.5, 1e300, "1"},
		"lamp":  {int64(1), "1"},
		"bare":  {"a\nb", "a\rb", "\x00", "\xff", strings.Repeat("x", 1025), int64(1)},
	} {
		for _, v := range values {
			if _, err := d.Write(t.Context(), point, v); err == nil {
				t.Errorf("%s = %.20v was taken", point, v)
			}
		}
	}
	if _, err := d.Do(t.Context(), "move", map[string]any{"axis": "z", "to": 1.5}, func(any) {}); err == nil {
		t.Error("an axis that does not exist was taken")
	}
	select {
	case l := <-b.lines:
		t.Errorf("sent %q", l)
	default:
	}
}

func TestDecimalCommaIsWrittenToo(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	d, _ := b.start(line.Config{
		Parse: line.ParseConfig{Regex: `^S=(?P<s>.*)$`, Decimal: ","},
		Points: map[string]line.PointConfig{"s": {From: "s", Write: &line.WriteConfig{
			Template: "S {value}\n", Ack: `^S (?P<value>.*)$`, Timeout: length(5 * time.Second)}}},
	})
	go func() { b.send("%s\n", b.next()) }()
	if got, err := d.Write(t.Context(), "s", 1.25); got != 1.25 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}
