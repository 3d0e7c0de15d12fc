package serialize_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// sameEverywhere decodes v as an argument, from a Go value and from each format, and
// once more as the field of a struct, which takes the long way by CBOR. All have to
// agree.
func sameEverywhere[T any](t *testing.T, v any) {
	t.Helper()
	type long struct {
		V T `json:"v"`
	}
	for name, p := range map[string]wamp.Format{"values": wamp.NoFormat, "json": wamp.JSON, "msgpack": wamp.MsgPack, "cbor": wamp.CBOR} {
		payload := wamp.Values(wamp.List{v}, wamp.Dict{"v": v})
		if p != wamp.NoFormat {
			var err error
			if payload, err = serialize.Encode(p, payload); err != nil {
				continue // the format has no form for it
			}
		}
		var short, key T
		var field long
		errShort, errLong := serialize.Arg(payload, 0, &short), serialize.Kwargs(payload, &field)
		found, errKey := serialize.Kwarg(payload, "v", &key)
		if (errShort == nil) != (errLong == nil) || (errKey == nil) != (errLong == nil) || !found {
			t.Errorf("%s: %T %v into %T: %v; as a keyword %v; the long way %v", name, v, v, short, errShort, errKey, errLong)
			continue
		}
		if errLong != nil {
			continue
		}
		for _, got := range []T{short, key} {
			if d := cmp.Diff(field.V, got, cmpopts.EquateNaNs()); d != "" {
				t.Errorf("%s: %T %v into %T: %s", name, v, v, short, d)
			}
		}
	}
}

func intoEveryType(t *testing.T, v any) {
	t.Helper()
	sameEverywhere[bool](t, v)
	sameEverywhere[string](t, v)
	sameEverywhere[int](t, v)
	sameEverywhere[int8](t, v)
	sameEverywhere[int64](t, v)
	sameEverywhere[uint16](t, v)
	sameEverywhere[uint64](t, v)
	sameEverywhere[float32](t, v)
	sameEverywhere[float64](t, v)
	sameEverywhere[[]byte](t, v)
	sameEverywhere[[]int](t, v)
	sameEverywhere[*int](t, v)
	sameEverywhere[wamp.URI](t, v)
	sameEverywhere[time.Duration](t, v)
	sameEverywhere[map[string]int](t, v)
}

func TestShortWaysDecodeAsTheLongOneDoes(t *testing.T) {
	t.Parallel()
	for _, v := range []any{
		nil, true, false, "", "text", "é", 0, 1, -1, 127, 128, -129, 65535, 65536, int8(-5), uint8(200), int64(math.MaxInt64), int64(math.MinInt64),
		uint64(math.MaxUint64), uint(7), 0.0, 1.0, -1.5, float32(2.5), 1e300, math.MaxFloat32, []byte{}, []byte("x"), []int{1, 2}, wamp.List{1, "a"},
		wamp.Dict{"a": 1}, map[string]int{"b": 2}, wamp.URI("a.b"), time.Second, []string{"a"}, struct {
			A int `json:"a"`
		}{3},
	} {
		intoEveryType(t, v)
	}
}

func FuzzShortWays(f *testing.F) {
	for _, s := range []string{"1", "-1", "1.5", `"x"`, "[1,2]", `{"a":[null]}`, "18446744073709551615", "1e400", "null", "true"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := serialize.ParseValue(wamp.JSON, b, serialize.Limits{Depth: 8, Elements: 64})
		if err != nil {
			return
		}
		intoEveryType(t, v)
	})
}

// Values of the same process are for an any what they would be from elsewhere, and
// share nothing with the sender where they are lists, dictionaries or bytes.
func TestValuesOfTheProcessAreNormalized(t *testing.T) {
	t.Parallel()
	list := wamp.List{1, uint8(2), float32(0.5), []byte("b"), wamp.Dict{"k": int16(3)}, nil, uint64(math.MaxUint64), "s"}
	want := wamp.List{int64(1), int64(2), 0.5, []byte("b"), wamp.Dict{"k": int64(3)}, nil, uint64(math.MaxUint64), "s"}
	p := wamp.Args(list, wamp.Dict{"l": list})
	var a any
	var l wamp.List
	var d wamp.Dict
	for i, into := range []any{&a, &l} {
		if err := serialize.Arg(p, 0, into); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := serialize.Arg(p, 1, &d); err != nil {
		t.Fatal(err)
	}
	for _, got := range []any{a, l, d["l"]} {
		if diff := cmp.Diff(any(want), any(got.(wamp.List))); diff != "" {
			t.Error(diff)
		}
	}
	l[3].([]byte)[0] = 'x'
	if string(list[3].([]byte)) != "b" {
		t.Error("bytes are shared")
	}
	loop := wamp.List{nil}
	loop[0] = loop
	if err := serialize.Arg(wamp.Args(loop), 0, &a); !wamp.IsError(err, wamp.ErrURIInvalidArgument) {
		t.Errorf("a list that contains itself: %v", err)
	}
	type own struct{ F func() }
	in := &own{}
	var out *own
	if err := serialize.Arg(wamp.Args(in), 0, &out); err != nil || out != in {
		t.Errorf("the receiver's own type: %v, %v", out, err)
	}
}

func TestLen(t *testing.T) {
	t.Parallel()
	for want, p := range map[int]wamp.Payload{0: {}, 3: wamp.Args(1, wamp.List{1, 2}, "x")} {
		for name, p := range everyWay(t, p) {
			if n := serialize.Len(p); n != want {
				t.Errorf("%s: %d, expected %d", name, n, want)
			}
		}
	}
	for _, p := range []wamp.Payload{
		wamp.RawPayload(wamp.JSON, []byte("{"), nil), wamp.RawPayload(wamp.JSON, []byte(`{"a":1}`), nil), wamp.RawPayload(99, []byte("[1]"), nil),
	} {
		if n := serialize.Len(p); n != 0 {
			t.Errorf("%v has %d arguments", p, n)
		}
	}
	if found, err := serialize.Kwarg(wamp.RawPayload(wamp.JSON, nil, []byte(`[1]`)), "x", new(int)); !found || !wamp.IsError(err, wamp.ErrURIInvalidArgument) {
		t.Errorf("a list of keyword arguments: %v, %v", found, err)
	}
}
