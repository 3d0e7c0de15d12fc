package serialize_test

import (
	"bytes"
	"testing"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

func TestConstantIsWrittenAsItsValue(t *testing.T) {
	t.Parallel()
	for _, v := range []any{nil, "text", wamp.List{}, wamp.Dict{"a": wamp.List{1, "b", wamp.Dict{}}, "c": []byte{1}}} {
		c, err := serialize.NewConstant(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
			for _, in := range []func(any) any{
				func(v any) any { return v },
				func(v any) any { return wamp.List{0, v, v} },
				func(v any) any { return wamp.Dict{"x": v, "y": 1} },
			} {
				want, err := serialize.AppendValue([]byte("before"), f, in(v))
				if err != nil {
					t.Fatal(err)
				}
				if got, err := serialize.AppendValue([]byte("before"), f, in(c)); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%v in %s: %q, %v; expected %q", v, f, got, err, want)
				}
			}
		}
	}
}

func TestConstantObeysTheDepth(t *testing.T) {
	t.Parallel()
	nest := func(v any, n int) any {
		for range n {
			v = wamp.List{v}
		}
		return v
	}
	if _, err := serialize.NewConstant(nest(1, 9)); err == nil {
		t.Error("a constant may nest too deep")
	}
	c, err := serialize.NewConstant(nest(1, 8))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := serialize.AppendValue(nil, wamp.JSON, nest(c, serialize.DefaultDepth-8)); err != nil {
		t.Error(err)
	}
	if _, err := serialize.AppendValue(nil, wamp.JSON, nest(c, serialize.DefaultDepth-7)); err == nil {
		t.Error("a constant nests too deep within something")
	}
	if _, err := serialize.NewConstant(make(chan int)); err == nil {
		t.Error("a constant may be what cannot be encoded")
	}
}
