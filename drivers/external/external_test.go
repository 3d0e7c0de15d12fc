package external_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/external"
	"gantry/internal/config"
	"gantry/internal/launch"
)

func TestMain(m *testing.M) {
	launch.Main(os.Args)
	goleak.VerifyTestMain(m)
}

const text = `
[point.t]
[point.led]
type = "bool"
writable = true
[action.beep]
args = { n = { type = "int", min = 1, max = 9 } }
`

func parse(t testing.TB, text string) external.Config {
	t.Helper()
	var cfg external.Config
	if err := config.Decode("test.toml", []byte(text), &cfg); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// place has a program that answers as say does; nil is one in order.
type place struct {
	say func(verb string, args []any) (any, error)
	run func(progress func(any)) // what run says at first

	mu  sync.Mutex
	got []map[string]any // keywords of write and do
}

func (p *place) Connect(context.Context, string) (drivers.Remote, error) { return p, nil }
func (p *place) Admit(string) ([]string, func(), error) {
	return []string{"GANTRY_X=y"}, func() {}, nil
}
func (p *place) Await(ctx context.Context, _ string) error { return ctx.Err() }
func (p *place) Close()                                    {}

func (p *place) Call(ctx context.Context, verb string, args []any, kwargs map[string]any, progress func(any)) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if verb == "write" || verb == "do" {
		p.mu.Lock()
		p.got = append(p.got, kwargs)
		p.mu.Unlock()
	}
	switch {
	case verb == "run":
		progress(map[string]any{"up": true})
		if p.run != nil {
			p.run(progress)
		}
		<-ctx.Done()
		return nil, ctx.Err()
	case p.say != nil:
		return p.say(verb, args)
	case verb == "read":
		var all []any
		for _, id := range args[0].([]any) {
			v := any(int64(3))
			if id == "led" {
				v = true
			}
			all = append(all, map[string]any{"point": id, "value": v})
		}
		return all, nil
	}
	return nil, nil
}

func newDriver(t testing.TB, more string, p *place) drivers.Driver {
	t.Helper()
	d, err := external.New(parse(t, more+text), drivers.Env{Device: "x", Programs: p})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConformance(t *testing.T) {
	drivertest.Test(t, func(t *testing.T) drivers.Driver { return newDriver(t, "", &place{}) })
}

func TestConformanceOfOneThatIsStarted(t *testing.T) {
	drivertest.Test(t, func(t *testing.T) drivers.Driver {
		return newDriver(t, "command = [\"/bin/sleep\", \"600\"]\n", &place{})
	})
}

// Whatever a program answers, it is no value unless it fits.
func TestNothingIsBelieved(t *testing.T) {
	t.Parallel()
	one := func(v any) any { return []any{map[string]any{"point": "t", "value": v}} }
	for _, v := range []any{nil, 7, "x", []any{nil}, []any{"x", map[string]any{}}, one(nil), one("warm"), one(math.NaN()), one(math.Inf(1)), one([]any{}), one(true),
		[]any{map[string]any{"point": "t", "value": 1.0, "q": "superb"}}, []any{map[string]any{"point": "x", "value": 1.0}}, make([]any, 5000)} {
		p := &place{say: func(string, []any) (any, error) { return v, nil }}
		d := newDriver(t, "", p)
		link := drivertest.Start(t, d)
		link.WaitUp(t, 1)
		got, err := d.(drivers.Reader).Read(t.Context(), []string{"t"})
		if err != nil || len(got) != 1 || got[0].Value != nil || got[0].Quality != drivers.Bad || got[0].Why == "" {
			t.Errorf("%.60v: %+v, %v", v, got, err)
		}
	}
	p := &place{say: func(string, []any) (any, error) { return "on", nil }}
	d := newDriver(t, "", p)
	drivertest.Start(t, d).WaitUp(t, 1)
	if _, err := d.(drivers.Writer).Write(t.Context(), "led", true); !errors.Is(err, drivers.ErrNotVerified) {
		t.Errorf("%v", err)
	}
}

func TestWhatRunSays(t *testing.T) {
	t.Parallel()
	p := &place{run: func(progress func(any)) {
		progress(map[string]any{"readings": []any{map[string]any{"point": "t", "value": 21.5, "ts": int64(1764000000000000), "q": "uncertain", "why": "cold"}, 3}})
		progress("nonsense")
		progress(map[string]any{"garbage": "checksum", "sample": "\x00\xff"})
	}}
	d := newDriver(t, "", p)
	link := drivertest.Start(t, d)
	link.Wait(t, "garbage", func() bool { return len(link.AllGarbage()) == 3 })
	if r := link.WaitReading(t, "t", 0, nil); r.Value != 21.5 || r.Time.Unix() != 1764000000 || r.Quality != drivers.Uncertain || r.Why != "cold" {
		t.Errorf("%+v", r)
	}
}

func TestTheProgramKnowsWhoAsks(t *testing.T) {
	t.Parallel()
	p := &place{}
	d := newDriver(t, "", p)
	drivertest.Start(t, d).WaitUp(t, 1)
	ctx := drivers.WithCaller(t.Context(), drivers.Caller{Session: 7, AuthID: "anna", Role: "operator"})
	if _, err := d.(drivers.Writer).Write(ctx, "led", true); err != nil {
		t.Error(err)
	}
	if _, err := d.(drivers.Doer).Do(t.Context(), "beep", nil, func(any) {}); err != nil {
		t.Error(err)
	}
	by, _ := p.got[0]["caller"].(map[string]any)
	if by["session"] != int64(7) || by["authid"] != "anna" || by["authrole"] != "operator" || p.got[1]["caller"] != nil {
		t.Errorf("%v", p.got)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for text, key := range map[string]string{
		"[point.p]\ntype = \"x\"": "point.p.type", "[point.p]\nsilent = true": "point.p.silent", "dir = \"/\"\n[point.p]": "dir",
		"command = [\"\"]\n[point.p]": "command", "command = []\n[point.p]": "command", "command = [\"x\"]\nlimits = { nice = 30 }\n[point.p]": "limits.nice",
		"[action.a]\nargs = { b = { type = \"y\" } }": "action.a.args.b.type", "limits = { nice = 3 }\n[point.p]": "limits",
	} {
		_, err := external.New(parse(t, text), drivers.Env{})
		var ce *drivers.ConfigError
		if !errors.As(err, &ce) || ce.Key != key || ce.Allowed == "" {
			t.Errorf("%s: %v", strings.ReplaceAll(text, "\n", " "), err)
		}
	}
}

func TestGarbageIsNoValue(t *testing.T) {
	t.Parallel()
	p := &place{say: func(string, []any) (any, error) { return map[string]any{"t": 1}, nil }}
	drivertest.GarbageIsNoValue(t, newDriver(t, "", p), func() {})
}

type dict = map[string]any

// point returns a description with one point.
func point(p any) dict { return dict{"points": dict{"t": p}} }

// A device without points in its file is what its program describes.
func TestTheProgramIsAsked(t *testing.T) {
	t.Parallel()
	said := dict{
		"points":  dict{"t": dict{"unit": "Cel"}, "led": dict{"type": "bool", "writable": true, "silent": true}},
		"actions": dict{"beep": dict{"args": dict{"n": dict{"type": "int", "min": int64(1), "max": uint64(9)}}}},
	}
	p := &place{say: func(string, []any) (any, error) { return said, nil }}
	d, err := external.New(external.Config{}, drivers.Env{Device: "x", Programs: p})
	if err != nil {
		t.Fatal(err)
	}
	if desc := d.Describe(); len(desc.Points)+len(desc.Actions) != 0 {
		t.Errorf("before it is asked: %+v", desc)
	}
	next := another(t, d)
	if desc := next.Describe(); len(desc.Points) != 2 || desc.Points[1].Unit != "Cel" || desc.Points[0].Readable || *desc.Actions[0].Args[0].Max != 9 {
		t.Errorf("%+v", desc)
	}
	drivertest.Start(t, next).WaitUp(t, 1)
	said = point(dict{"type": "int"})
	if desc := another(t, next).Describe(); len(desc.Points) != 1 || desc.Points[0].Type != drivers.Int {
		t.Errorf("%+v", desc)
	}
}

// another runs a driver that is to find out that the device is another.
func another(t *testing.T, d drivers.Driver) drivers.Driver {
	t.Helper()
	var other *drivers.OtherError
	if err := d.Run(t.Context(), &drivertest.Link{}); !errors.As(err, &other) {
		t.Fatalf("%v", err)
	}
	return other.Driver
}

func TestHostileDescriptions(t *testing.T) {
	t.Parallel()
	many, long := dict{}, strings.Repeat("x", 401)
	for i := range 1025 {
		many[fmt.Sprint("p", i)] = nil
	}
	for name, said := range map[string]any{
		"nothing": nil, "a number": 7, "empty": dict{}, "a list": []any{}, "unknown key": dict{"point": dict{}}, "points no dictionary": dict{"points": []any{}},
		"too many": dict{"points": many}, "too many actions": dict{"actions": many}, "too many args": dict{"actions": dict{"a": dict{"args": many}}},
		"bad name": dict{"points": dict{"T": nil}}, "long name": dict{"points": dict{strings.Repeat("a", 65): nil}}, "no name": dict{"points": dict{"": nil}},
		"bad type": point(dict{"type": "x"}), "type no text": point(dict{"type": 3}), "NaN": point(dict{"min": math.NaN()}), "infinite": point(dict{"max": math.Inf(1)}),
		"min above max": point(dict{"min": 2, "max": 1.0}), "long text": point(dict{"unit": long}), "no UTF-8": point(dict{"description": "\xff"}),
		"neither": point(dict{"silent": true}), "flag no bool": point(dict{"writable": "yes"}), "enum no list": point(dict{"enum": "x"}),
		"enum of numbers": point(dict{"enum": []any{1}}), "long enum": point(dict{"enum": make([]any, 257)}), "key of hub": point(dict{"every": "1s"}),
	} {
		p := &place{say: func(string, []any) (any, error) { return said, nil }}
		d, err := external.New(external.Config{}, drivers.Env{Device: "x", Programs: p})
		if err != nil {
			t.Fatal(err)
		}
		var other *drivers.OtherError
		if err := d.Run(t.Context(), &drivertest.Link{}); !errors.Is(err, drivers.ErrOffline) || errors.As(err, &other) || len(err.Error()) > 400 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever a program describes is refused, or within bounds.
func FuzzDescription(f *testing.F) {
	f.Add([]byte(`{"points":{"t":{"type":"int","min":1,"max":9,"enum":["a"]}},"actions":{"a":{"args":{"n":{}}}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var said any
		if json.Unmarshal(b, &said) != nil {
			return
		}
		p := &place{say: func(string, []any) (any, error) { return said, nil }}
		d, err := external.New(external.Config{}, drivers.Env{Device: "x", Programs: p})
		if err != nil {
			t.Fatal(err)
		}
		var other *drivers.OtherError
		if !errors.As(d.Run(t.Context(), &drivertest.Link{}), &other) {
			return
		}
		desc := other.Driver.Describe()
		if n := len(desc.Points) + len(desc.Actions); n == 0 || n > 2048 {
			t.Errorf("%d points and actions", n)
		}
		for _, p := range desc.Points {
			if p.ID == "" || len(p.ID) > 64 || !p.Readable && !p.Writable || p.Type > drivers.Bytes {
				t.Errorf("%+v", p)
			}
		}
	})
}
