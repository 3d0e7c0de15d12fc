package bridge_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gantry/bridge"
	"gantry/internal/wallclock"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

// wrongClock is an origin on a machine whose clock says 1970 until set is called.
func wrongClock(t testing.TB) (o *bridge.Origin, set func()) {
	t.Helper()
	up, ahead, synced := time.Minute, time.Duration(0), false
	clock := wallclock.New(wallclock.Config{
		System: func() time.Time { return time.Unix(0, 0).Add(up + ahead) }, Up: func() time.Duration { return up },
		Synced: func() bool { return synced }, Boot: "a",
	})
	if err := clock.Resume(nil, 7); err != nil {
		t.Fatal(err)
	}
	o, err := bridge.NewOrigin(bridge.OriginConfig{Gateway: "gw", Epoch: 7, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	return o, func() {
		up += time.Hour
		ahead, synced = time.Unix(1_772_366_400, 0).Sub(time.Unix(0, 0)), true
	}
}

const (
	startedAt = int64(1_772_366_400_000_000) // microseconds: when the machine was started, in truth
	minute    = int64(60_000_000)
)

func TestRestamp(t *testing.T) {
	t.Parallel()
	o, set := wrongClock(t)
	const topic = wamp.URI("gantry.gw.point.meter.power")
	guess, _ := o.Stamp(topic)
	if up, _ := guess["up"].(int64); up < minute || up > minute+1_000_000 || guess["ts"] != up {
		t.Fatal(guess)
	}
	guess["ts"], guess["up"] = minute, minute
	want := wamp.Dict{"ts": minute, "clk": "guess", "up": minute, "ep": int64(7), "seq": int64(1)}
	if diff := cmp.Diff(want, guess); diff != "" {
		t.Fatal(diff)
	}
	with := func(d wamp.Dict, key string, v any) wamp.Dict {
		out := wamp.Dict{key: v}
		for k, v := range d {
			if k != key {
				out[k] = v
			}
		}
		if v == nil {
			delete(out, key)
		}
		return out
	}
	right := with(with(with(guess, "up", nil), "clk", "sync"), "ts", startedAt+minute)
	state := with(guess, "since", int64(1000))
	rightState := with(right, "since", startedAt+1000)
	told := with(guess, "up", nil) // a sender's own time
	for _, c := range []struct {
		what     string
		topic    wamp.URI
		in, want wamp.Dict
	}{
		{"a reading", topic, guess, right},
		{"a state", "gantry.gw.state.meter.link", state, rightState},
		{"another gateway's", "gantry.gw2.point.meter.power", guess, guess},
		{"a sender's own time", topic, told, told},
		{"one that was right", topic, right, right},
		{"of an epoch to come", topic, with(guess, "ep", int64(8)), with(guess, "ep", int64(8))},
		{"of an earlier epoch", topic, with(guess, "ep", int64(6)), with(guess, "ep", int64(6))},
		{"no epoch", topic, with(guess, "ep", nil), with(guess, "ep", nil)},
		{"an epoch below 0", topic, with(guess, "ep", int64(-7)), with(guess, "ep", int64(-7))},
		{"up is no number", topic, with(guess, "up", "x"), with(guess, "up", "x")},
		{"up is in the future", topic, with(guess, "up", int64(1)<<60), with(guess, "up", int64(1)<<60)},
		{"nothing", topic, nil, nil},
	} {
		for _, f := range []wamp.Format{wamp.NoFormat, wamp.JSON, wamp.MsgPack, wamp.CBOR} {
			p := wamp.Values(wamp.List{1520.5, "a", []byte{1, 2}}, c.in)
			if f != wamp.NoFormat {
				var err error
				if p, err = serialize.Encode(f, p); err != nil {
					t.Fatal(err)
				}
			}
			if f == wamp.NoFormat && c.what == "a reading" {
				same, late := o.Restamp(c.topic, p)
				if _, kwargs, _ := serialize.Values(same); kwargs["clk"] != "guess" || late != 0 {
					t.Errorf("put right before the clock is set: %v", kwargs)
				}
			}
			set() // once is enough; again changes nothing
			out, late := o.Restamp(c.topic, p)
			args, kwargs, err := serialize.Values(out)
			if err != nil || out.Format() != f {
				t.Fatalf("%s: %v, format %v", c.what, err, out.Format())
			}
			if diff := cmp.Diff(c.want, kwargs); diff != "" && len(kwargs)+len(c.want) > 0 {
				t.Errorf("%s, format %v: %s", c.what, f, diff)
			}
			if moved := c.in["clk"] != c.want["clk"]; late != 0 != moved || moved && late != time.Duration(startedAt)*time.Microsecond {
				t.Errorf("%s: moved by %v", c.what, late)
			}
			if diff := cmp.Diff(wamp.List{1520.5, "a", []byte{1, 2}}, args); diff != "" {
				t.Errorf("%s, format %v: %s", c.what, f, diff)
			}
		}
	}
	if guess["clk"] != "guess" || guess["up"] != minute {
		t.Errorf("the payload handed in was changed: %v", guess)
	}
}

func FuzzRestamp(f *testing.F) {
	seed := wamp.Values(nil, wamp.Dict{"ts": int64(5), "clk": "guess", "up": int64(9), "ep": int64(7), "since": int64(2)})
	for _, format := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
		p, err := serialize.Encode(format, seed)
		if err != nil {
			f.Fatal(err)
		}
		_, kwargs := p.Raw()
		f.Add(byte(format), kwargs)
	}
	o, set := wrongClock(f)
	set()
	f.Fuzz(func(t *testing.T, format byte, kwargs []byte) {
		if format == 0 || wamp.Format(format) >= wamp.FormatCount {
			return
		}
		p, _ := o.Restamp("gantry.gw.point.d.p", wamp.RawPayload(wamp.Format(format), nil, kwargs))
		_, out := p.Raw()
		if string(out) == string(kwargs) {
			return
		}
		_, d, err := serialize.Values(p)
		ts, ok := d["ts"].(int64)
		if err != nil || !ok || d["clk"] != "sync" || ts < startedAt || d["up"] != nil {
			t.Fatalf("%q became %q: %v, %v", kwargs, out, d, err)
		}
		p, _ = o.Restamp("gantry.gw.point.d.p", p)
		_, again := p.Raw()
		if string(again) != string(out) {
			t.Fatalf("%q became %q, and that %q", kwargs, out, again)
		}
	})
}

// TestClockError says that the time is not known where that may be all that is wrong.
func TestClockError(t *testing.T) {
	t.Parallel()
	o, set := wrongClock(t)
	expired := fmt.Errorf("dial: %w", &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired, Detail: "d"}})
	if err := o.ClockError(expired); !strings.Contains(err.Error(), "the clock is not set (it says 1970-01-01 00:0") || !errors.Is(err, expired) {
		t.Error(err)
	}
	unknown := fmt.Errorf("dial: %w", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}})
	for _, err := range []error{unknown, io.EOF, x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign}} {
		if got := o.ClockError(err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
	set()
	if err := o.ClockError(expired); err != expired {
		t.Errorf("with a clock that is set: %v", err)
	}
}
