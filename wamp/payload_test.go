package wamp_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gantry/wamp"
)

func TestPayloadEmpty(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		p    wamp.Payload
		want bool
	}{
		{"zero", wamp.Payload{}, true},
		{"no values", wamp.Args(), true},
		{"empty containers of values", wamp.Values(wamp.List{}, wamp.Dict{}), true},
		{"an argument", wamp.Args(nil), false},
		{"a keyword argument", wamp.Values(nil, wamp.Dict{"a": 1}), false},
		{"raw without both", wamp.RawPayload(wamp.JSON, nil, nil), true},
		{"an empty raw list stays on the wire", wamp.RawPayload(wamp.JSON, []byte("[]"), nil), false},
		{"raw keyword arguments alone", wamp.RawPayload(wamp.JSON, nil, []byte("{}")), false},
	}
	for _, tt := range tests {
		if got := tt.p.Empty(); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestPayloadCloneOwnsItsBytes(t *testing.T) {
	t.Parallel()
	for name, parts := range map[string][2]string{
		"both":   {"[1]", `{"a":2}`},
		"args":   {"[1]", ""},
		"kwargs": {"", `{"a":2}`},
		"none":   {"", ""},
	} {
		var in [2][]byte
		for i, s := range parts {
			if s != "" {
				in[i] = []byte(s)
			}
		}
		p := wamp.RawPayload(wamp.JSON, in[0], in[1])
		c := p.Clone()
		for _, b := range in {
			clear(b)
		}
		args, kwargs := c.Raw()
		if string(args) != parts[0] || string(kwargs) != parts[1] || c.Format() != wamp.JSON {
			t.Errorf("%s: %q %q %s", name, args, kwargs, c.Format())
		}
		if (args == nil) != (in[0] == nil) || (kwargs == nil) != (in[1] == nil) {
			t.Errorf("%s: absent became empty or the reverse", name)
		}
		// Growing one part must not run into the other.
		_ = append(args, "overwritten"...)
		if string(kwargs) != parts[1] {
			t.Errorf("%s: parts overlap", name)
		}
		if c.Size() != len(parts[0])+len(parts[1]) {
			t.Errorf("%s: size %d", name, c.Size())
		}
	}
}

func TestPayloadOfValues(t *testing.T) {
	t.Parallel()
	p := wamp.Values(wamp.List{1}, wamp.Dict{"a": "b"})
	args, kwargs := p.GoValues()
	if diff := cmp.Diff([]any{wamp.List{1}, wamp.Dict{"a": "b"}}, []any{args, kwargs}); diff != "" {
		t.Error(diff)
	}
	if a, k := p.Raw(); a != nil || k != nil || p.Format() != wamp.NoFormat || p.Size() != 0 {
		t.Error("a payload of values is raw")
	}
	c := p.Clone()
	if args, _ := c.GoValues(); len(args) != 1 {
		t.Error("values are lost in the copy")
	}
}

func TestFormatNames(t *testing.T) {
	t.Parallel()
	for f, want := range map[wamp.Format]string{
		wamp.NoFormat: "values", wamp.JSON: "json", wamp.MsgPack: "msgpack", wamp.CBOR: "cbor",
		wamp.FormatCount: "invalid", 255: "invalid",
	} {
		if f.String() != want {
			t.Errorf("%d: %s", f, f)
		}
	}
}

func TestErrorIsFoundInWrapping(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("set relay: %w", wamp.NewError(wamp.ErrURIBusy, "bus is busy", wamp.Dict{"bus": "rs485"}))
	if !wamp.IsError(err, wamp.ErrURIBusy) || wamp.IsError(err, wamp.ErrURIOffline) || wamp.IsError(nil, wamp.ErrURIBusy) {
		t.Error("IsError does not tell errors apart")
	}
	var e *wamp.Error
	if !errors.As(err, &e) || e.Error() != "gantry.error.busy: bus is busy" {
		t.Error(err)
	}
	args, kwargs := e.Payload.GoValues()
	if len(args) != 1 || args[0] != "bus is busy" || kwargs["bus"] != "rs485" {
		t.Error(args, kwargs)
	}
	if (&wamp.Error{URI: "a.b"}).Error() != "a.b" {
		t.Error("an error without text")
	}
}
