package line

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gantry/drivers"
	"gantry/drivers/internal/value"
)

// Reasons for a reading of quality Bad.
const (
	whyNumber = "not_a_number" // not in the grammar of numbers
	whyRange  = "out_of_range" // a number that the type does not hold
	whyBool   = "not_a_bool"   // neither the text for true nor the one for false
	whyText   = "not_text"     // not UTF-8
	whyNull   = "null"         // JSON: the device says that there is no value
)

// form turns texts of the device into values of one type, and back.
type form struct {
	typ      drivers.Type
	yes, no  string // "" for the defaults
	comma    bool   // decimal comma
	decimals *uint8
	min, max *float64
	enum     []string
}

func newForm(key, typ, yes, no, decimal string) (form, error) {
	f := form{yes: yes, no: no, comma: decimal == ","}
	if typ != "" {
		t, ok := drivers.ParseType(typ)
		if !ok || t == drivers.Bytes {
			return f, bad(key+".type", fmt.Sprintf("%.20q is unknown", typ), "float, int, bool, text")
		}
		f.typ = t
	}
	switch {
	case (yes != "" || no != "") && f.typ != drivers.Bool:
		return f, bad(key+".true", "applies to type bool only", `type = "bool"`)
	case (yes == "") != (no == ""):
		return f, bad(key+".true", "true and false go together", `true = "ON", false = "OFF"`)
	case yes != "" && yes == no:
		return f, bad(key+".true", "is the same as false", "two different texts")
	case hasControl(yes) || hasControl(no):
		return f, bad(key+".true", "contains a control character", "printing characters")
	}
	return f, nil
}

// read returns the value that the field holds, or why it holds none.
func (f *form) read(x field) (v drivers.Value, why string) {
	if x.kind == null {
		return nil, whyNull
	}
	switch f.typ {
	case drivers.Float:
		return f.float(x)
	case drivers.Int:
		if x.kind == composite || x.kind == boolean || !value.IsInt(x.text) {
			return nil, whyNumber
		}
		n, err := strconv.ParseInt(x.text, 10, 64)
		if err != nil {
			return nil, whyRange
		}
		return n, ""
	case drivers.Bool:
		return f.bool(x)
	}
	if !utf8.ValidString(x.text) {
		return nil, whyText
	}
	return x.text, ""
}

func (f *form) float(x field) (drivers.Value, string) {
	text := x.text
	if f.comma && x.kind == words {
		if strings.ContainsRune(text, '.') {
			return nil, whyNumber
		}
		text = strings.Replace(text, ",", ".", 1)
	}
	if x.kind == composite || x.kind == boolean || !value.IsFloat(text) {
		return nil, whyNumber
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(n, 0) {
		return nil, whyRange
	}
	return n, ""
}

func (f *form) bool(x field) (drivers.Value, string) {
	switch {
	case x.kind == composite:
	case x.kind == boolean:
		return x.text == "true", ""
	case f.yes != "":
		if x.text == f.yes || x.text == f.no {
			return x.text == f.yes, ""
		}
	default:
		switch strings.ToLower(x.text) {
		case "1", "true", "on":
			return true, ""
		case "0", "false", "off":
			return false, ""
		}
	}
	return nil, whyBool
}

var (
	errType    = errors.New("has the wrong type")
	errRange   = errors.New("is out of range")
	errControl = errors.New("contains a control character or is not UTF-8")
)

// text returns v as the device wants it. The value has been checked by the hub;
// here it is made sure that it is nothing else than one value.
func (f *form) text(v drivers.Value) (string, error) {
	switch f.typ {
	case drivers.Float:
		n, ok := value.Float64(v)
		if !ok || math.IsNaN(n) || math.IsInf(n, 0) {
			return "", fmt.Errorf("%w: want a finite number", errType)
		}
		if !f.within(n) {
			return "", errRange
		}
		prec := -1
		if f.decimals != nil {
			prec = int(*f.decimals)
		}
		s := strconv.FormatFloat(n, 'f', prec, 64)
		if f.comma {
			s = strings.Replace(s, ".", ",", 1)
		}
		return s, nil
	case drivers.Int:
		n, ok := value.Int64(v)
		if !ok {
			return "", fmt.Errorf("%w: want an integer", errType)
		}
		if !f.within(float64(n)) {
			return "", errRange
		}
		return strconv.FormatInt(n, 10), nil
	case drivers.Bool:
		b, ok := v.(bool)
		switch {
		case !ok:
			return "", fmt.Errorf("%w: want true or false", errType)
		case b:
			return orText(f.yes, "1"), nil
		}
		return orText(f.no, "0"), nil
	}
	s, ok := v.(string)
	switch {
	case !ok:
		return "", fmt.Errorf("%w: want a text", errType)
	case !utf8.ValidString(s) || hasControl(s):
		return "", errControl
	case len(s) > maxText:
		return "", fmt.Errorf("%w: up to %d bytes", errRange, maxText)
	case len(f.enum) > 0 && !slices.Contains(f.enum, s):
		return "", fmt.Errorf("%w: allowed: %s", errRange, strings.Join(f.enum, ", "))
	}
	return s, nil
}

// maxText bounds a text that is sent to a device, in bytes.
const maxText = 1024

func (f *form) within(n float64) bool {
	return (f.min == nil || n >= *f.min) && (f.max == nil || n <= *f.max)
}

func orText(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

func hasControl(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }
