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
// another type an integer above int64 is a big.Int. A Go value that has the type
// already is handed over as it is: what it points to is shared with the sender.
//
// The error is a *wamp.Error with wamp.error.invalid_argument, so that a handler
// may return it to the caller as it is.
func Arg(p wamp.Payload, i int, into any) error {
	if err := arg(&p, i, into); err != nil {
		return invalidArgument(fmt.Sprintf("argument %d", i), err)
	}
	return nil
}

func arg(p *wamp.Payload, i int, into any) error {
	f := p.Format()
	if f == wamp.NoFormat {
		list, _ := p.GoValues()
		if i < 0 || i >= len(list) {
			return errMissing
		}
		return assign(list[i], into)
	}
	raw, _ := p.Raw()
	item, err := listItem(f, raw, i)
	if err != nil {
		return err
	}
	return decodeInto(f, item, into)
}

// Kwarg decodes the keyword argument called name, as Arg does. Without one it
// returns false and leaves into as it is. Of a name that comes twice the last one
// counts.
func Kwarg(p wamp.Payload, name string, into any) (found bool, err error) {
	if f := p.Format(); f == wamp.NoFormat {
		_, dict := p.GoValues()
		v, ok := dict[name]
		if !ok {
			return false, nil
		}
		err = assign(v, into)
	} else {
		_, raw := p.Raw()
		if raw == nil {
			return false, nil
		}
		var item []byte
		item, err = dictItem(f, raw, name)
		if err == nil && item == nil {
			return false, nil
		}
		if err == nil {
			err = decodeInto(f, item, into)
		}
	}
	return true, invalidArgument("keyword argument "+name, err)
}

// Len returns the number of positional arguments; 0 where they are malformed.
func Len(p wamp.Payload) int {
	f := p.Format()
	if f == wamp.NoFormat {
		list, _ := p.GoValues()
		return len(list)
	}
	raw, _ := p.Raw()
	n := 0
	_ = items(f, raw, kindList, func(c *cursor) bool { c.value(); n++; return true })
	return n
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

const (
	errMissing   = fault("missing")
	errContainer = fault("not in a list or dictionary")
)

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
func listItem(f wamp.Format, v []byte, i int) (item []byte, err error) {
	if i < 0 {
		return nil, errMissing
	}
	err = items(f, v, kindList, func(c *cursor) bool {
		value := c.value()
		if i == 0 {
			item = value
		}
		i--
		return item == nil
	})
	if err == nil && item == nil {
		err = errMissing
	}
	return item, err
}

// dictItem returns the value of a key of the raw dict v, nil if it is not there.
func dictItem(f wamp.Format, v []byte, key string) (item []byte, err error) {
	err = items(f, v, kindDict, func(c *cursor) bool {
		is := c.key() == key
		if value := c.value(); is {
			item = value
		}
		return true
	})
	return item, err
}

// items proves a raw container to be of kind k, and hands a cursor at each item to
// do until that returns false. do must read the item.
func items(f wamp.Format, v []byte, k kind, do func(*cursor) bool) error {
	if err := known(f); err != nil {
		return err
	}
	if v == nil {
		return nil
	}
	s := getScratch()
	defer s.free()
	s.walk.limit(maxDepth, math.MaxInt)
	s.walk.record = false
	if at, err := s.walk.whole(f, v); err != nil {
		return syntaxError(f, at, err)
	}
	d, c := &s.items, &s.cursor
	*d = Decoder{format: f}
	d.borrow()
	defer d.Release()
	d.read.keep = false
	d.walk.limit(maxDepth, math.MaxInt)
	var ok bool
	if *c, ok = d.cursor(v, k); !ok {
		return errContainer
	}
	for c.more() && do(c) {
	}
	return nil
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
	if scalarInto(f, v, into) {
		return nil
	}
	s := getScratch()
	defer s.free()
	w := writer{format: wamp.CBOR}
	if err := s.transcode(&w, v, f, maxDepth); err != nil {
		return err
	}
	return decMode.Unmarshal(w.b, into)
}
