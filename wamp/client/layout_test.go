package client_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/serialize"
)

type mixed struct {
	N    int             `wamp:"0"`
	F    float64         `wamp:"1,optional"`
	Rest []string        `wamp:"*"`
	B    []byte          `wamp:"bytes,optional"`
	P    *span           `wamp:"span,optional"`
	L    map[string]bool `wamp:"flags,optional"`
	Part string          `wamp:"<part>"`
}

// Whatever a payload holds, it is decoded or refused with a MismatchError, and what
// was decoded comes back from what it is laid out as.
func FuzzLayout(f *testing.F) {
	for _, s := range [][2]string{
		{`[1, 2.5, "a", "b"]`, `{"bytes": "\u0000AQI=", "span": {"From": 1}, "flags": {"a": true}}`},
		{`[]`, ``}, {`["x"]`, `{}`}, {`[1, null, 3]`, `{"bytes": 5}`}, {``, `{"flags": []}`},
	} {
		f.Add([]byte(s[0]), []byte(s[1]), uint8(wamp.JSON))
	}
	parts := []client.Part{{Name: "part", Text: "p"}}
	f.Fuzz(func(t *testing.T, args, kwargs []byte, format uint8) {
		fm := wamp.Format(format % uint8(wamp.FormatCount))
		if fm == wamp.NoFormat || len(args) == 0 && len(kwargs) == 0 {
			return
		}
		for _, b := range [][]byte{args, kwargs} {
			if len(b) > 0 && serialize.Valid(fm, b, serialize.Limits{}) != nil {
				return
			}
		}
		if len(args) == 0 {
			args = nil
		}
		if len(kwargs) == 0 {
			kwargs = nil
		}
		p := wamp.RawPayload(fm, args, kwargs)
		for _, strict := range []bool{false, true} {
			_, err := client.Decode[span](p, nil, strict)
			mustMismatch(t, err)
			_, err = client.Decode[[]int](p, nil, strict)
			mustMismatch(t, err)
			_, err = client.Decode[any](p, nil, strict)
			mustMismatch(t, err)
			_, err = client.Decode[struct{}](p, nil, strict)
			mustMismatch(t, err)
		}
		v, err := client.Decode[mixed](p, parts, true)
		if err != nil {
			mustMismatch(t, err)
			return
		}
		laid, err := client.Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		again, err := client.Decode[mixed](laid, parts, true)
		if err != nil {
			t.Fatalf("%+v is laid out as %v: %v", v, laid, err)
		}
		if d := cmp.Diff(v, again, cmpopts.EquateNaNs(), cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(span{})); d != "" {
			t.Error(d)
		}
	})
}

func mustMismatch(t *testing.T, err error) {
	t.Helper()
	var m *client.MismatchError
	if err != nil && (!errors.As(err, &m) || !wamp.IsError(err, wamp.ErrURIInvalidArgument)) {
		t.Errorf("the error is %T: %v", err, err)
	}
}

func TestOptionalFieldsAreLeftOut(t *testing.T) {
	t.Parallel()
	type options struct {
		A int    `wamp:"0,optional"`
		B int    `wamp:"1,optional"`
		K string `wamp:"k,optional"`
	}
	for _, tt := range []struct {
		v    any
		want wamp.Payload
	}{
		{options{}, wamp.Values(wamp.List{}, nil)},
		{options{A: 1}, wamp.Args(1)},
		{options{B: 1}, wamp.Args(0, 1)},
		{options{K: "x"}, wamp.Values(wamp.List{}, wamp.Dict{"k": "x"})},
		{&options{A: 2}, wamp.Args(2)},
		{(*options)(nil), wamp.Payload{}},
		{struct{}{}, wamp.Payload{}},
		{wamp.Args(1, 2), wamp.Args(1, 2)},
		{[]int{1}, wamp.Args([]int{1})},
		{nil, wamp.Args(nil)},
	} {
		p, err := client.Encode(tt.v)
		if err != nil {
			t.Error(err)
		}
		args, kwargs := p.GoValues()
		wantArgs, wantKwargs := tt.want.GoValues()
		if d := cmp.Diff(wantArgs, args, cmpopts.EquateEmpty()) + cmp.Diff(wantKwargs, kwargs, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%#v: %s", tt.v, d)
		}
	}
}
