package serialize

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"gantry/wamp"
)

// decMode decodes CBOR into Go values of any type. What it reads has been through
// a walk already.
var decMode = func() cbor.DecMode {
	m, err := cbor.DecOptions{
		DefaultMapType:    reflect.TypeFor[wamp.Dict](),
		IntDec:            cbor.IntDecConvertSignedOrBigInt,
		MaxNestedLevels:   2 * maxDepth,
		MaxArrayElements:  maxValues,
		MaxMapPairs:       maxValues,
		BinaryUnmarshaler: cbor.BinaryUnmarshalerNone,
		TextUnmarshaler:   cbor.TextUnmarshalerTextString,
	}.DecMode()
	if err != nil {
		panic("serialize: " + err.Error()) // the options above contradict each other
	}
	return m
}()

// Arg decodes positional argument i, counted from 0, into the variable that into
// points to, in any type that AppendValue takes. An integer is taken where a float
// is due, since browsers send 23 for 23.0; an unknown field of a struct is
// ignored. A *any receives a value as ParseValue returns it; in an any inside of
// another type an integer above int64 is a big.Int.
//
// The error is a *wamp.Error with wamp.error.invalid_argument, so that a handler
// may return it to the caller as it is.
func Arg(p wamp.Payload, i int, into any) error {
	what := fmt.Sprintf("argument %d", i)
	list, _ := p.GoValues()
	raw, _ := p.Raw()
	f := p.Format()
	if f == wamp.NoFormat {
		if i < 0 || i >= len(list) {
			return invalidArgument(what, errMissing)
		}
		return invalidArgument(what, assign(list[i], into))
	}
	item, err := listItem(f, raw, i)
	if err == nil {
		err = decodeInto(f, item, into)
	}
	return invalidArgument(what, err)
}

// Kwargs decodes the keyword arguments into the struct or map that into points
// to, as Arg does. Without keyword arguments into is left as it is.
func Kwargs(p wamp.Payload, into any) error {
	const what = "keyword arguments"
	_, raw := p.Raw()
	_, dict := p.GoValues()
	switch {
	case raw != nil:
		return invalidArgument(what, decodeInto(p.Format(), raw, into))
	case len(dict) > 0:
		return invalidArgument(what, assign(dict, into))
	}
	return nil
}

const errMissing = fault("missing")

// invalidArgument returns the error that tells the caller about err, nil for nil.
func invalidArgument(what string, err error) error {
	if err == nil {
		return nil
	}
	text := strings.TrimPrefix(err.Error(), "cbor: ")
	var mismatch *cbor.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		text = fmt.Sprintf("%s in place of %s", mismatch.CBORType, mismatch.GoType)
		if mismatch.StructFieldName != "" {
			text += " (" + mismatch.StructFieldName + ")"
		}
	}
	return wamp.NewError(wamp.ErrURIInvalidArgument, what+": "+text, nil)
}

// listItem returns item i of the raw list v.
func listItem(f wamp.Format, v []byte, i int) ([]byte, error) {
	if err := known(f); err != nil {
		return nil, err
	}
	s := getScratch()
	defer s.free()
	s.walk.limit(maxDepth, math.MaxInt)
	s.walk.record = false
	if v == nil || i < 0 {
		return nil, errMissing
	}
	if at, err := s.walk.whole(f, v); err != nil {
		return nil, syntaxError(f, at, err)
	}
	d := Decoder{format: f}
	d.borrow()
	defer d.Release()
	d.read.keep = false
	d.walk.limit(maxDepth, math.MaxInt)
	c, ok := d.cursor(v, kindList)
	for ok && c.more() {
		item := c.value()
		if i == 0 {
			return item, nil
		}
		i--
	}
	return nil, errMissing
}

// decodeInto decodes a raw value.
func decodeInto(f wamp.Format, v []byte, into any) error {
	if into, ok := into.(*any); ok {
		value, err := parse(f, v, maxDepth, maxValues, false)
		if err == nil {
			*into = value
		}
		return err
	}
	s := getScratch()
	defer s.free()
	w := writer{format: wamp.CBOR}
	if err := s.transcode(&w, v, f, maxDepth); err != nil {
		return err
	}
	return decMode.Unmarshal(w.b, into)
}

// assign decodes a Go value.
func assign(v, into any) error {
	b, err := AppendValue(nil, wamp.CBOR, v)
	if err != nil {
		return err
	}
	return decodeInto(wamp.CBOR, b, into)
}
