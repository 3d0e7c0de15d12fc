package text

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
	WhyNumber = "not_a_number" // not in the grammar of numbers
	WhyRange  = "out_of_range" // a number that the type does not hold
	WhyBool   = "not_a_bool"   // neither the text for true nor the one for false
	WhyText   = "not_text"     // not UTF-8
	WhyNull   = "null"         // JSON: the device says that there is no value
)

// Form turns texts of the device into values of one type, and back.
type Form struct {
	Type     drivers.Type
	Decimals *uint8   // digits behind the point of a float that is sent; nil: as many as it has
	Min, Max *float64 // bounds of what is sent
	Enum     []string // texts that may be sent; nil: any

	yes, no string // "" for the defaults
	comma   bool   // decimal comma
}

// NewForm checks what configuration says about a value: its type (float, int, bool,
// text), the texts for true and false, the decimal point. Errors are
// *drivers.ConfigError with keys below key.
func NewForm(key, typ, yes, no, decimal string) (Form, error) {
	f := Form{yes: yes, no: no, comma: decimal == ","}
	if typ != "" {
		t, ok := drivers.ParseType(typ)
		if !ok || t == drivers.Bytes {
			return f, bad(key+".type", fmt.Sprintf("%.20q is unknown", typ), "float, int, bool, text")
		}
		f.Type = t
	}
	switch {
	case (yes != "" || no != "") && f.Type != drivers.Bool:
		return f, bad(key+".true", "applies to type bool only", `type = "bool"`)
	case (yes == "") != (no == ""):
		return f, bad(key+".true", "true and false go together", `true = "ON", false = "OFF"`)
	case yes != "" && yes == no:
		return f, bad(key+".true", "is the same as false", "two different texts")
	case HasControl(yes) || HasControl(no):
		return f, bad(key+".true", "contains a control character", "printing characters")
	}
	return f, nil
}

// Read returns the value that the field holds, or why it holds none.
func (f *Form) Read(x Field) (v drivers.Value, why string) {
	if x.Kind == null {
		return nil, WhyNull
	}
	switch f.Type {
	case drivers.Float:
		return f.float(x)
	case drivers.Int:
		if x.Kind == composite || x.Kind == boolean || !value.IsInt(x.Text) {
			return nil, WhyNumber
		}
		n, err := strconv.ParseInt(x.Text, 10, 64)
		if err != nil {
			return nil, WhyRange
		}
		return n, ""
	case drivers.Bool:
		return f.bool(x)
	}
	if !utf8.ValidString(x.Text) {
		return nil, WhyText
	}
	return x.Text, ""
}

func (f *Form) float(x Field) (drivers.Value, string) {
	text := x.Text
	if f.comma && x.Kind == Words {
		if strings.ContainsRune(text, '.') {
			return nil, WhyNumber
		}
		text = strings.Replace(text, ",", ".", 1)
	}
	if x.Kind == composite || x.Kind == boolean || !value.IsFloat(text) {
		return nil, WhyNumber
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(n, 0) {
		return nil, WhyRange
	}
	return n, ""
}

func (f *Form) bool(x Field) (drivers.Value, string) {
	switch {
	case x.Kind == composite:
	case x.Kind == boolean:
		return x.Text == "true", ""
	case f.yes != "":
		if x.Text == f.yes || x.Text == f.no {
			return x.Text == f.yes, ""
		}
	default:
		switch strings.ToLower(x.Text) {
		case "1", "true", "on":
			return true, ""
		case "0", "false", "off":
			return false, ""
		}
	}
	return nil, WhyBool
}

var (
	errType    = errors.New("has the wrong type")
	errRange   = errors.New("is out of range")
	errControl = errors.New("contains a control character or is not UTF-8")
)

// Text returns v as the device wants it. The value has been checked by the hub;
// here it is made sure that it is nothing else than one value.
func (f *Form) Text(v drivers.Value) (string, error) {
	switch f.Type {
	case drivers.Float:
		n, ok := value.Float64(v)
		if !ok || math.IsNaN(n) || math.IsInf(n, 0) {
			return "", fmt.Errorf("%w: want a finite number", errType)
		}
		if !f.within(n) {
			return "", errRange
		}
		prec := -1
		if f.Decimals != nil {
			prec = int(*f.Decimals)
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
	case !utf8.ValidString(s) || HasControl(s):
		return "", errControl
	case len(s) > maxText:
		return "", fmt.Errorf("%w: up to %d bytes", errRange, maxText)
	case len(f.Enum) > 0 && !slices.Contains(f.Enum, s):
		return "", fmt.Errorf("%w: allowed: %s", errRange, strings.Join(f.Enum, ", "))
	}
	return s, nil
}

// maxText bounds a text that is sent to a device, in bytes.
const maxText = 1024

func (f *Form) within(n float64) bool {
	return (f.Min == nil || n >= *f.Min) && (f.Max == nil || n <= *f.Max)
}

func orText(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// HasControl reports whether s contains a control character, such as a line end.
func HasControl(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }
