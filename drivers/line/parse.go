package line

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

	"gantry/drivers/internal/value"

	"github.com/tidwall/gjson"
)

// fieldKind is what a field holds.
type fieldKind uint8

const (
	absent    fieldKind = iota // the line does not have it
	words                      // text
	numeral                    // a JSON number
	boolean                    // JSON true or false
	null                       // JSON null
	composite                  // a JSON object or array
)

// field is one part of a line.
type field struct {
	kind fieldKind
	text string
}

// is reports whether the field holds want, as text or as a number.
func (x field) is(want string) bool {
	if x.kind == absent || x.kind == null || x.kind == composite {
		return false
	}
	if x.kind != numeral || !value.IsFloat(want) {
		return x.text == want
	}
	a, errA := strconv.ParseFloat(x.text, 64)
	b, errB := strconv.ParseFloat(want, 64)
	return errA == nil && errB == nil && a == b
}

// parser takes a line apart.
type parser interface {
	// parse fills out, one field for each name that the parser was made for. why
	// is not empty if the line is none of the device's.
	parse(line []byte, out []field) (why string)
}

// Reasons for garbage.
const (
	whyMatch   = "no_match" // the regular expression does not match
	whyJSON    = "not_json"
	whyDepth   = "too_deep"
	whyCSV     = "not_csv"
	whyColumns = "columns"  // another number of columns than configured
	whyField   = "no_field" // valid, but without any field that a point is read from
)

func newParser(cfg *ParseConfig, fields []string) (parser, error) {
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
	re, err := compile("parse.regex", text)
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

func (p *regexParser) parse(line []byte, out []field) string {
	m := p.re.FindSubmatchIndex(line)
	if m == nil {
		return whyMatch
	}
	for slot, g := range p.group {
		if m[2*g] < 0 {
			out[slot] = field{} // in an alternative that did not match
			continue
		}
		out[slot] = field{kind: words, text: string(line[m[2*g]:m[2*g+1]])}
	}
	return ""
}

// maxDepth bounds the nesting of JSON; the parser recurses.
const maxDepth = 32

type jsonParser struct{ paths []string }

func newJSONParser(fields []string) (*jsonParser, error) {
	for _, path := range fields {
		if path == "" || strings.ContainsAny(path, `*?#|@!{}[]()=<>%\"'`) || slices.Contains(strings.Split(path, "."), "") {
			return nil, bad("point", fmt.Sprintf("%.40q is no path to a JSON field", path), `names or indices joined by dots: "env.t", "list.0"`)
		}
	}
	return &jsonParser{paths: fields}, nil
}

func (p *jsonParser) parse(line []byte, out []field) string {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] != '{' && line[0] != '[' {
		return whyJSON
	}
	if depth(line) > maxDepth {
		return whyDepth
	}
	if !gjson.ValidBytes(line) {
		return whyJSON
	}
	for slot, path := range p.paths {
		out[slot] = jsonField(gjson.GetBytes(line, path))
	}
	return ""
}

func jsonField(r gjson.Result) field {
	switch {
	case !r.Exists():
		return field{}
	case r.Type == gjson.Null:
		return field{kind: null}
	case r.Type == gjson.True:
		return field{kind: boolean, text: "true"}
	case r.Type == gjson.False:
		return field{kind: boolean, text: "false"}
	case r.Type == gjson.Number:
		return field{kind: numeral, text: r.Raw}
	case r.Type == gjson.String:
		return field{kind: words, text: r.Str}
	}
	return field{kind: composite, text: r.Raw}
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

func newCSVParser(cfg *ParseConfig, fields []string) (*csvParser, error) {
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

func (p *csvParser) parse(line []byte, out []field) string {
	r := csv.NewReader(bytes.NewReader(line))
	r.Comma, r.FieldsPerRecord, r.TrimLeadingSpace = p.comma, -1, p.comma != ' ' && p.comma != '\t'
	row, err := r.Read()
	if err != nil {
		return whyCSV
	}
	if _, err := r.Read(); !errors.Is(err, io.EOF) {
		return whyCSV
	}
	if len(row) != len(p.names) {
		return whyColumns
	}
	for i := range row {
		row[i] = strings.TrimSpace(row[i])
	}
	for slot, i := range p.col {
		out[slot] = field{kind: words, text: row[i]}
	}
	return ""
}
