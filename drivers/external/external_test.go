package external_test

import (
	"context"
	"errors"
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
		"": "point", "[point.p]\ntype = \"x\"": "point.p.type", "[point.p]\nsilent = true": "point.p.silent", "dir = \"/\"\n[point.p]": "dir",
		"command = [\"\"]\n[point.p]": "command", "command = [\"x\"]\nlimits = { nice = 30 }\n[point.p]": "limits.nice",
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
