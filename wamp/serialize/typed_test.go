package serialize_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// everyWay returns the payload as Go values and raw in each format.
func everyWay(t *testing.T, p wamp.Payload) map[string]wamp.Payload {
	t.Helper()
	out := map[string]wamp.Payload{"values": p}
	for _, f := range formats {
		raw, err := serialize.Encode(f, p)
		if err != nil {
			t.Fatal(err)
		}
		out[f.String()] = raw
	}
	return out
}

func TestArgDecodesIntoTypes(t *testing.T) {
	t.Parallel()
	type setpoint struct {
		Value float64   `json:"value"`
		Unit  string    `json:"unit"`
		Raw   []byte    `json:"raw"`
		At    time.Time `json:"at"`
		Any   any       `json:"any"`
		Opt   *int      `json:"opt"`
	}
	at := time.Date(2026, 11, 5, 4, 3, 2, 0, time.UTC)
	p := wamp.Args(int64(23), 21.5, "text", []byte{1, 0xff}, true, []int{1, 2}, wamp.Dict{
		"value": 23, "unit": "Cel", "raw": []byte{7}, "at": at, "any": []any{1, "x"}, "opt": nil, "more": 1,
	}, nil, uint64(math.MaxUint64))
	for name, p := range everyWay(t, p) {
		var (
			i   int32
			f   float64
			f2  float64
			s   string
			b   []byte
			ok  bool
			arr []uint8
			sp  setpoint
			a   any
			d   wamp.Dict
			u   uint64
		)
		keep := 5
		for i, into := range map[int][]any{
			0: {&i, &f}, 1: {&f2}, 2: {&s}, 3: {&b}, 4: {&ok}, 5: {&arr}, 6: {&sp, &a, &d}, 7: {&keep}, 8: {&u},
		} {
			for _, into := range into {
				if err := serialize.Arg(p, i, into); err != nil {
					t.Errorf("%s %d into %T: %v", name, i, into, err)
				}
			}
		}
		if i != 23 || f != 23 || f2 != 21.5 || s != "text" || string(b) != "\x01\xff" || !ok ||
			len(arr) != 2 || arr[1] != 2 || u != math.MaxUint64 {
			t.Error(name, i, f, f2, s, b, ok, arr, u)
		}
		want := setpoint{23, "Cel", []byte{7}, at, wamp.List{int64(1), "x"}, nil}
		if d := diff(want, sp); d != "" {
			t.Error(name, d)
		}
		if a.(wamp.Dict)["value"] != int64(23) || d["unit"] != "Cel" {
			t.Error(name, a, d)
		}
	}
}

func TestArgTellsTheCallerWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, p := range everyWay(t, wamp.Args("text", 1.5, wamp.Dict{"value": "high"}, int64(300))) {
		var f float64
		var i int
		var small int8
		var sp struct {
			Value float64 `json:"value"`
		}
		var d wamp.Dict
		for _, tt := range []struct {
			i    int
			into any
			want string
		}{
			{0, &f, "argument 0: "},
			{1, &i, "argument 1: "},
			{2, &sp, "value"},
			{0, &d, "argument 0: "},
			{3, &small, "argument 3: "},
			{4, &f, "argument 4: missing"},
			{-1, &f, "argument -1: missing"},
		} {
			err := serialize.Arg(p, tt.i, tt.into)
			var e *wamp.Error
			if !errors.As(err, &e) || e.URI != wamp.ErrURIInvalidArgument ||
				!strings.Contains(e.Text, tt.want) || strings.Contains(e.Text, "cbor") {
				t.Errorf("%s: argument %d into %T: %v", name, tt.i, tt.into, err)
			}
		}
	}
	var s string
	for _, p := range []wamp.Payload{
		{},
		wamp.RawPayload(wamp.JSON, nil, []byte("{}")),
		wamp.RawPayload(wamp.JSON, []byte(`["a"`), nil),
		wamp.RawPayload(wamp.JSON, []byte(`{"a":"b"}`), nil),
		wamp.RawPayload(99, []byte(`["a"]`), nil),
		wamp.Args(make(chan int)),
	} {
		if err := serialize.Arg(p, 0, &s); !wamp.IsError(err, wamp.ErrURIInvalidArgument) {
			t.Error(err)
		}
	}
}

func TestKwargsDecodeIntoStructAndMap(t *testing.T) {
	t.Parallel()
	for name, p := range everyWay(t, wamp.Values(nil, wamp.Dict{"max_age": 1500, "later": true})) {
		var opts struct {
			MaxAge float64 `json:"max_age"`
			Later  bool    `json:"later"`
		}
		if err := serialize.Kwargs(p, &opts); err != nil || opts.MaxAge != 1500 || !opts.Later {
			t.Error(name, opts, err)
		}
		var m map[string]any
		if err := serialize.Kwargs(p, &m); err != nil || m["max_age"] != int64(1500) {
			t.Error(name, m, err)
		}
		var wrong struct {
			Later int `json:"later"`
		}
		if err := serialize.Kwargs(p, &wrong); !wamp.IsError(err, wamp.ErrURIInvalidArgument) {
			t.Error(name, err)
		}
	}
	opts := struct{ A int }{7}
	if err := serialize.Kwargs(wamp.Args(1), &opts); err != nil || opts.A != 7 {
		t.Error(opts, err)
	}
}
