package template_test

import (
	"errors"
	"strings"
	"testing"

	"gantry/bridge/shapes/internal/template"
)

func render(t *testing.T, source, payload string) (any, error) {
	t.Helper()
	tmpl, err := template.Compile(source)
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	vars := map[string]any{"value": payload}
	if v, err := template.Decode([]byte(payload)); err == nil {
		vars["value_json"] = v
	}
	return tmpl.Render(vars)
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	const payload = `{"temperature": 21.53, "state": "ON", "n": 7, "s": "42", "list": [1, 2, 3], "deep": {"a b": {"c": true}}, "null": null, "zero": 0}`
	for _, c := range []struct {
		source string
		want   any
	}{
		{"{{ value_json.temperature }}", 21.53},
		{"{{value_json['temperature']}}", 21.53},
		{`{{ value_json["deep"]["a b"].c }}`, true},
		{"{{ value_json.temperature | round(1) }}", 21.5},
		{"{{ value_json.temperature | int }}", int64(21)},
		{"{{ value_json.temperature | round(0) }}", int64(22)},
		{"{{ value_json.s | float / 10 }}", 4.2},
		{"{{ value_json.s | int(0) + 1 }}", int64(43)},
		{"{{ (value_json.n * 100 / 7) | round | int }}", int64(100)},
		{"{{ value_json.n // 2 }}", int64(3)},
		{"{{ -value_json.n % 4 }}", int64(1)},
		{"{{ 2 ** 3 ~ 'x' }}", "8x"},
		{"{{ value_json.missing | default('none') }}", "none"},
		{"{{ value_json.missing | default(3) | float }}", 3.0},
		{"{{ value_json.zero | default(5, true) }}", int64(5)},
		{"{{ value_json.state | lower }}", "on"},
		{"{{ value_json.state.lower() }}", "on"},
		{"{{ 'yes' if value_json.state == 'ON' else 'no' }}", "yes"},
		{"{{ value_json.list[-1] }}", int64(3)},
		{"{{ value_json.list.1 }}", int64(2)},
		{"{{ value_json.list | length }}", int64(3)},
		{"{{ value_json.list | join('-') }}", "1-2-3"},
		{"{{ 2 in value_json.list and not 5 in value_json.list }}", true},
		{"{{ 5 not in value_json.list }}", true},
		{"{{ value_json.missing is defined }}", false},
		{"{{ value_json['null'] is none }}", true},
		{"{{ value_json.n is number }}", true},
		{"{% if value_json.n > 5 %}high{% elif value_json.n > 2 %}mid{% else %}low{% endif %}", "high"},
		{"{%- if value_json.zero -%} a {%- else -%} {{ value_json.n }} {%- endif -%}", int64(7)},
		{"{% set m = {'ON': 'heat', 'OFF': 'off',} %}{{ m[value_json.state] }}", "heat"},
		{"{{ {'ON': 1, 'OFF': 0}[value_json.state] }}", int64(1)},
		{"{{ value_json.get('x', 9) }}", int64(9)},
		{"{{ '1;2;3'.split(';')[1] | float }}", 2.0},
		{"{{ value_json.state | replace('O', '0') }}", "0N"},
		{"{{ value | length > 10 }}", true},
		{"{{ iif(value_json.n == 7, 'seven', 'other') }}", "seven"},
		{"{{ [1, 9, 4] | max }} and {{ min(3, 2) }}", "9 and 2"},
		{"{# a comment #}{{ value_json.n }}", int64(7)},
		{`{"brightness": {{ value_json.n }}}`, `{"brightness": 7}`},
		{"plain", "plain"},
		{"{{ (value_json.temperature * 9 / 5 + 32) | round(2) }}", 70.75},
		{"{{ value_json.n | multiply(0.1) | round(2) }}", 0.7},
		{"{{ 1 < 2 and 2 <= 2 and not false }}", true},
		{"{{ value_json.deep | tojson }}", `{"a b":{"c":true}}`},
		{"{{ '}}' ~ \"{%\" }}", "}}{%"},
		{"{{ value_json.n | bitwise_and(5) }}", int64(5)},
		{"{{ (value_json.s | int | bitwise_or(1)) | bitwise_xor(2) }}", int64(41)},
		{"{{ value_json.state[:1] }}{{ value_json.state[1:] }}", "ON"},
		{"{{ value_json.list[-2:] | join }}", "23"},
		{"{{ value_json.list[0:2] | sum }}", int64(3)},
		{"{{ value_json.list[5:9] | length }}", int64(0)},
		{"{{ '%05.1f|%d|%s' | format(value_json.temperature, value_json.s, value_json.state) }}", "021.5|42|ON"},
		{"{{ '%.2f' % value_json.temperature }}", "21.53"},
		{"{{ '%x%%' % [255] }}", "ff%"},
		{"{{ value_json.state is match('O') and 'xON' is not match('O') and 'xON' is search('O') }}", true},
		{"{{ 'a12b3' | regex_replace('[0-9]+', '_') }}", "a_b_"},
		{`{{ 'key=val' | regex_replace('(\\w+)=(\\w+)', '\\2:\\1') }}`, "val:key"},
		{"{{ 'a$1' | regex_replace('a', '$1') }}", "$1$1"},
		{"{{ value_json.deep.keys() | first }}", "a b"},
		{"{{ value_json.deep.values() | length }}", int64(1)},
		{"{{ 1700000000 | timestamp_local }}", "2023-11-14T22:13:20Z"},
		{"{{ '2023-11-14 22:13:20+01:00' | as_datetime }}", "2023-11-14T21:13:20Z"},
		{"{{ 'never' | timestamp_utc('-') }}", "-"},
		{"{{ value_json.s | is_number }}", true},
		{"{{ sqrt(value_json.n + 2) }}", 3.0},
		{"{{ value_json.state | list | last }}", "N"},
	} {
		got, err := render(t, c.source, payload)
		if err != nil || got != c.want {
			t.Errorf("%s: %#v, %v; want %#v", c.source, got, err, c.want)
		}
	}
}

func TestWhatIsNotThereIsUndefined(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"{{ value_json.missing }}", "{{ value_json.missing.deeper }}", "{{ other }}", "{{ value_json.missing | is_defined }}"} {
		if v, err := render(t, source, `{"a": 1}`); !errors.Is(err, template.ErrUndefined) {
			t.Errorf("%s: %v, %v", source, v, err)
		}
	}
}

func TestTemplatesThatFail(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"{{ 1 / 0 }}", "{{ 'a' * 3 }}", "{{ value | float }}", "{{ 9 ** 9999 }}", "{{ 'a' | regex_replace('(', '') }}", "{{ '%d' % 'a' }}", "{{ '%d %d' % 1 }}", "{{ '%999d' % 1 }}", "{{ '%q' % 1 }}", "{{ 'soon' | as_datetime }}",
		"{{ 1[0:1] }}", "{{ 1 | bitwise_and('x') }}", "{{ (0 - 1) | sqrt }}", "{{ 'a' < 1 }}", "{{ value_json | from_json }}"} {
		if v, err := render(t, source, "text"); err == nil {
			t.Errorf("%s: %v", source, v)
		}
	}
}

func TestTemplatesThatAreNotKnown(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		"{% for x in y %}{{ x }}{% endfor %}": "unknown statement",
		"{{ value | urlencode }}":             "unknown filter",
		"{{ states('sensor.x') }}":            "unknown function",
		"{{ value_json.x.items() }}":          "unknown method",
		"{{ a is odd }}":                      "unknown test",
		"{{ value":                            "missing",
		"{% if a %}b":                         "endif",
		"{% endif %}":                         "without an if",
		"{{ 'open }}":                         "missing",
		"{{ 1 + }}":                           "expected",
		"{{ " + strings.Repeat("(", 100) + "1" + strings.Repeat(")", 100) + " }}": "in each other",
		strings.Repeat("x", 9000): "bytes",
	} {
		if _, err := template.Compile(source); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v; want %q", source, err, want)
		}
	}
}

func TestTextsDoNotGrow(t *testing.T) {
	t.Parallel()
	again := func(statement string) string {
		return "{% set a = value %}" + strings.Repeat("{% set a = "+statement+" %}", 40)
	}
	for name, source := range map[string]string{
		"joined":                  again("a ~ a") + "{{ a }}",
		"formatted":               again("'%s%s' % [a, a]") + "{{ a }}",
		"formatted, the format":   again("a ~ '%s' | format(a)") + "{{ a }}",
		"lists in lists":          again("[a, a]") + "{{ a | tojson }}",
		"lists in dictionaries":   again("{'a': a, 'b': a}") + "{{ a }}",
		"tuples in tuples":        again("(a, a)") + "{{ a == a }}",
		"replaced":                "{{ value | replace('x', value) | replace('x', value) }}",
		"replaced by a pattern":   "{{ value | regex_replace('x', value) | regex_replace('x', value) }}",
		"groups of each letter":   "{{ value | regex_replace('" + strings.Repeat("()", 250) + "', '') }}",
		"steps for each letter":   "{{ value | regex_match('" + strings.Repeat(".{0,999}", 50) + "y') }}",
		"a pattern that is large": "{{ value | regex_match('" + strings.Repeat("x", 513) + "') }}",
	} {
		if v, err := render(t, source, strings.Repeat("x", 5000)); err == nil {
			t.Errorf("%s: a %T", name, v)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add("{{ value_json.a | round(1) if value_json.b else -1 }}", `{"a": 1.5, "b": true}`)
	f.Add("{% set x = {'a': [1, 2]} %}{% if x.a[0] in [1] %}{{ value ~ 'y' }}{% endif %}", "17")
	f.Add("{{ value.split(',')[0] | int(0) // 3 ** 2 % 4 }}{# c #}", "1,2")
	f.Add("{% set a = ['%s%5.1f' % [value, 2], value[1:] | regex_replace('(.)', '_')] %}{{ (a, a) | tojson }}", "abc")
	f.Fuzz(func(t *testing.T, source, payload string) {
		tmpl, err := template.Compile(source)
		if err != nil {
			return
		}
		vars := map[string]any{"value": payload}
		if v, err := template.Decode([]byte(payload)); err == nil {
			vars["value_json"] = v
		}
		if v, err := tmpl.Render(vars); err == nil {
			if s, ok := v.(string); ok && len(s) > 1<<20 {
				t.Errorf("%d bytes of %d", len(s), len(source))
			}
		}
	})
}
