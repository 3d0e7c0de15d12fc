package serialize

import (
	"math"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"gantry/wamp"
)

// encMode turns Go values that the package does not write itself into CBOR, the
// format that can say all of WAMP's values.
var encMode = func() cbor.EncMode {
	m, err := cbor.EncOptions{
		Time:            cbor.TimeRFC3339Nano,
		TextMarshaler:   cbor.TextMarshalerTextString,
		BinaryMarshaler: cbor.BinaryMarshalerNone,
		NaNConvert:      cbor.NaNConvertNone,
		InfConvert:      cbor.InfConvertNone,
		Sort:            cbor.SortBytewiseLexical,
	}.EncMode()
	if err != nil {
		panic("serialize: " + err.Error()) // the options above contradict each other
	}
	return m
}()

// AppendValue appends a Go value in format f: nil, booleans, all integers and
// floats, strings (valid UTF-8), []byte, and lists, maps with text keys, structs
// and pointers of these. Struct fields are named by their cbor or else json tags.
// time.Time is text in RFC 3339 form; a type with MarshalText is that text. Map
// keys are written in order. Nesting goes to DefaultDepth, which is what receivers
// take. On error dst is returned unchanged with a
// *wamp.PayloadError.
func AppendValue(dst []byte, f wamp.Format, v any) ([]byte, error) {
	if err := known(f); err != nil {
		return dst, err
	}
	s := getScratch()
	defer s.free()
	w := writer{format: f, b: dst}
	if err := s.encode(&w, v, DefaultDepth); err != nil {
		return dst, payloadError(f, err)
	}
	return w.finish(), nil
}

// payloadError returns err as a *wamp.PayloadError for format f.
func payloadError(f wamp.Format, err error) error {
	if e, ok := err.(*wamp.PayloadError); ok {
		return e
	}
	return &wamp.PayloadError{Format: f, Text: err.Error()}
}

// encode appends v to w; depth is how deep it may nest.
func (s *scratch) encode(w *writer, v any, depth int) error {
	switch v := v.(type) {
	case nil:
		w.word(kindNull)
	case bool:
		w.bool(v)
	case string:
		return w.goText(v)
	case wamp.URI:
		return w.goText(string(v))
	case []byte:
		if v == nil {
			w.word(kindNull)
			return nil
		}
		w.bytes(v)
	case float64:
		return w.float(kindFloat64, math.Float64bits(v))
	case float32:
		return w.float(kindFloat32, uint64(math.Float32bits(v)))
	case []any:
		return s.encodeList(w, v, depth)
	case []string:
		return s.encodeTexts(w, v)
	case map[string]any:
		return s.encodeDict(w, v, depth)
	case *Constant:
		return v.write(w, depth)
	default:
		if !encodeInteger(w, v) {
			return s.encodeOther(w, v, depth)
		}
	}
	return nil
}

// encodeInteger appends v if it is one of the integer types.
func encodeInteger(w *writer, v any) bool {
	switch v := v.(type) {
	case int:
		w.int(int64(v))
	case int8:
		w.int(int64(v))
	case int16:
		w.int(int64(v))
	case int32:
		w.int(int64(v))
	case int64:
		w.int(v)
	case uint:
		w.uint(uint64(v))
	case uint8:
		w.uint(uint64(v))
	case uint16:
		w.uint(uint64(v))
	case uint32:
		w.uint(uint64(v))
	case uint64:
		w.uint(v)
	case wamp.ID:
		w.uint(uint64(v))
	default:
		return false
	}
	return true
}

func (s *scratch) encodeList(w *writer, list []any, depth int) error {
	if depth == 0 {
		return errDepth // as a value that contains itself is
	}
	w.open(kindList, uint64(len(list)))
	for _, v := range list {
		if err := s.encode(w, v, depth-1); err != nil {
			return err
		}
	}
	w.close(kindList)
	return nil
}

func (s *scratch) encodeTexts(w *writer, list []string) error {
	w.open(kindList, uint64(len(list)))
	for _, v := range list {
		if err := w.goText(v); err != nil {
			return err
		}
	}
	w.close(kindList)
	return nil
}

func (s *scratch) encodeDict(w *writer, dict map[string]any, depth int) error {
	if depth == 0 {
		return errDepth
	}
	w.open(kindDict, uint64(len(dict)))
	start := len(s.keys)
	for k := range dict {
		s.keys = append(s.keys, k)
	}
	end := len(s.keys)
	slices.Sort(s.keys[start:end])
	for i := start; i < end; i++ {
		k := s.keys[i]
		if err := w.goKey(k); err != nil {
			return err
		}
		if err := s.encode(w, dict[k], depth-1); err != nil {
			return err
		}
	}
	clear(s.keys[start:])
	s.keys = s.keys[:start]
	w.close(kindDict)
	return nil
}

// encodeOther appends v by way of CBOR.
func (s *scratch) encodeOther(w *writer, v any, depth int) error {
	b, err := encMode.Marshal(v)
	if err != nil {
		return err
	}
	return s.transcode(w, b, wamp.CBOR, depth)
}
