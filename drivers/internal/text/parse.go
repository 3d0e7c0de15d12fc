// Package text takes apart what devices and programs say in text (by a regular
// expression, as JSON, as CSV) and turns the parts into values, and values into
// text. What does not fit never becomes a value.
package text

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gantry/drivers"
	"gantry/drivers/internal/value"

	"github.com/tidwall/gjson"
)

// FieldKind is what a field holds.
type FieldKind uint8

// The kinds. JSON values are told apart from text, since they are no texts.
const (
	Absent    FieldKind = iota // the line does not have it
	Words                      // text
	numeral                    // a JSON number
	boolean                    // JSON true or false
	null                       // JSON null
	composite                  // a JSON object or array
)

// Field is one part of a line.
type Field struct {
	Kind FieldKind
	Text string
}

// Is reports whether the field holds want, as text or as a number.
func (x Field) Is(want string) bool {
	if x.Kind == Absent || x.Kind == null || x.Kind == composite {
		return false
	}
	if x.Kind != numeral || !value.IsFloat(want) {
		return x.Text == want
	}
	a, errA := strconv.ParseFloat(x.Text, 64)
	b, errB := strconv.ParseFloat(want, 64)
	return errA == nil && errB == nil && a == b
}

// Says reports whether the field is there and is not null, false, 0 or "".
func (x Field) Says() bool {
	return x.Kind != Absent && x.Kind != null && x.Text != "" && !(x.Kind == boolean && x.Text == "false") && !x.Is("0")
}

// Parser takes a line apart.
type Parser interface {
	// Parse fills out, one field for each name that the parser was made for. why
	// is not empty if the line is none of the device's.
	Parse(line []byte, out []Field) (why string)
}

// Reasons for garbage.
const (
	WhyMatch   = "no_match" // the regular expression does not match
	WhyJSON    = "not_json"
	WhyDepth   = "too_deep"
	WhyCSV     = "not_csv"
	WhyColumns = "columns"  // another number of columns than configured
	WhyField   = "no_field" // valid, but without any field that a point is read from
)

// Config says how a line, or an output, is taken apart. Exactly one of Regex, JSON
// and CSV is set, or none if no point is read.
type Config struct {
	Regex   string   `toml:"regex"`   // RE2 with named groups, which are the fields
	JSON    bool     `toml:"json"`    // fields by dotted path: "env.t", "list.0", "$.env.t"
	CSV     []string `toml:"csv"`     // names of the columns; "" for one that is not used
	Comma   string   `toml:"comma"`   // between columns, one character; default ","
	Decimal string   `toml:"decimal"` // decimal point in numbers: "." (default) or ","
}

// NewParser checks cfg and returns a parser that fills the fields named; nil if there
// are none. Errors are *drivers.ConfigError with keys below "parse".
func NewParser(cfg *Config, fields []string) (Parser, error) {
	given := 0
	for _, set := range []bool{cfg.Regex != "", cfg.JSON, len(cfg.CSV) > 0} {
		if set {
			given++
		}
	}
	const allowed = `one of regex = '...', json = true, csv = ["..."]`
	switch {
	case cfg.Decimal != "" && cfg.Decimal != "." && cfg.Decimal != ",":
		return nil, bad("parse.decimal", fmt.Sprintf("%.20q does not do", cfg.Decimal), `"." or ","`)
	case cfg.Comma != "" && len(cfg.CSV) == 0:
		return nil, bad("parse.comma", "applies to csv only", "csv = [...]")
	case given > 1:
		return nil, bad("parse", "has more than one form", allowed)
	case given == 0 && len(fields) > 0:
		return nil, bad("parse", "does not say how lines are taken apart", allowed)
	case given == 0:
		return nil, nil
	case cfg.Regex != "":
		return newRegexParser(cfg.Regex, fields)
	case cfg.JSON:
		return newJSONParser(fields)
	}
	return newCSVParser(cfg, fields)
}

type regexParser struct {
	re    *regexp.Regexp
	group []int // by slot
}

func newRegexParser(text string, fields []string) (*regexParser, error) {
	re, err := Compile("parse.regex", text)
	if err != nil {
		return nil, err
	}
	p := &regexParser{re: re}
	for _, name := range fields {
		i := re.SubexpIndex(name)
		if i < 0 {
			return nil, bad("parse.regex", fmt.Sprintf("has no group named %.40q", name),
				fmt.Sprintf("(?P<%s>...)", name))
		}
		p.group = append(p.group, i)
	}
	return p, nil
}

func (p *regexParser) Parse(line []byte, out []Field) string {
	m := p.re.FindSubmatchIndex(line)
	if m == nil {
		return WhyMatch
	}
	for slot, g := range p.group {
		if m[2*g] < 0 {
			out[slot] = Field{} // in an alternative that did not match
			continue
		}
		out[slot] = Field{Kind: Words, Text: string(line[m[2*g]:m[2*g+1]])}
	}
	return ""
}

// maxDepth bounds the nesting of JSON; the parser recurses.
const maxDepth = 32

type jsonParser struct{ paths []string }

func newJSONParser(fields []string) (*jsonParser, error) {
	p := &jsonParser{}
	for _, path := range fields {
		path = strings.TrimPrefix(path, "$.")
		p.paths = append(p.paths, path)
		if path == "" || path[0] == '$' || strings.ContainsAny(path, `*?#|@!{}[]()=<>%\"'`) || slices.Contains(strings.Split(path, "."), "") {
			return nil, bad("point", fmt.Sprintf("%.40q is no path to a JSON field", path), `names or indices joined by dots: "env.t", "list.0"`)
		}
	}
	return p, nil
}

func (p *jsonParser) Parse(line []byte, out []Field) string {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] != '{' && line[0] != '[' {
		return WhyJSON
	}
	if depth(line) > maxDepth {
		return WhyDepth
	}
	if !gjson.ValidBytes(line) {
		return WhyJSON
	}
	for slot, path := range p.paths {
		out[slot] = FieldOf(gjson.GetBytes(line, path))
	}
	return ""
}

// FieldOf returns the field that a JSON value is.
func FieldOf(r gjson.Result) Field {
	switch {
	case !r.Exists():
		return Field{}
	case r.Type == gjson.Null:
		return Field{Kind: null}
	case r.Type == gjson.True:
		return Field{Kind: boolean, Text: "true"}
	case r.Type == gjson.False:
		return Field{Kind: boolean, Text: "false"}
	case r.Type == gjson.Number:
		return Field{Kind: numeral, Text: r.Raw}
	case r.Type == gjson.String:
		return Field{Kind: Words, Text: r.Str}
	}
	return Field{Kind: composite, Text: r.Raw}
}

// depth returns how deep brackets are nested outside of strings.
func depth(line []byte) int {
	now, most := 0, 0
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			most = max(most, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return most
}

type csvParser struct {
	names []string
	comma rune
	col   []int // by slot
}

func newCSVParser(cfg *Config, fields []string) (*csvParser, error) {
	p := &csvParser{names: cfg.CSV}
	var err error
	if p.comma, err = single("parse.comma", cfg.Comma, ','); err != nil {
		return nil, err
	}
	if cfg.Decimal == "," && p.comma == ',' {
		return nil, bad("parse.decimal", "is the same as comma", `comma = ";"`)
	}
	for i, name := range cfg.CSV {
		if name != "" && slices.Index(cfg.CSV, name) != i {
			return nil, bad("parse.csv", fmt.Sprintf("has two columns named %.40q", name), "different names")
		}
	}
	for _, name := range fields {
		i := slices.Index(cfg.CSV, name)
		if i < 0 {
			return nil, bad("parse.csv", fmt.Sprintf("has no column named %.40q", name), strings.Join(cfg.CSV, ", "))
		}
		p.col = append(p.col, i)
	}
	return p, nil
}

func (p *csvParser) Parse(line []byte, out []Field) string {
	r := csv.NewReader(bytes.NewReader(line))
	r.Comma, r.FieldsPerRecord, r.TrimLeadingSpace = p.comma, -1, p.comma != ' ' && p.comma != '\t'
	row, err := r.Read()
	if err != nil {
		return WhyCSV
	}
	if _, err := r.Read(); !errors.Is(err, io.EOF) {
		return WhyCSV
	}
	if len(row) != len(p.names) {
		return WhyColumns
	}
	for i := range row {
		row[i] = strings.TrimSpace(row[i])
	}
	for slot, i := range p.col {
		out[slot] = Field{Kind: Words, Text: row[i]}
	}
	return ""
}

// Compile compiles the expression that configuration has at key.
func Compile(key, text string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, bad(key, strings.TrimPrefix(err.Error(), "error parsing regexp: "), "a regular expression in RE2 syntax")
	}
	return re, nil
}

// single returns the only character of text, or def if it is empty.
func single(key, text string, def rune) (rune, error) {
	if text == "" {
		return def, nil
	}
	r, n := utf8.DecodeRuneInString(text)
	if n != len(text) || r == utf8.RuneError || r == '"' || r == '\r' || r == '\n' {
		return 0, bad(key, fmt.Sprintf("%.20q does not do", text), "one character, neither quote nor line end")
	}
	return r, nil
}

func bad(key, text, allowed string) error {
	return &drivers.ConfigError{Key: key, Text: text, Allowed: allowed}
}
