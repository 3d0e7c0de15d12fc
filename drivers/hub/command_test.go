package hub_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"gantry/drivers"
	"gantry/drivers/hub"
	"gantry/wamp"
)

func TestSetValidates(t *testing.T) {
	t.Parallel()
	limited := drivers.Point{ID: "p", Type: drivers.Int, Readable: true, Writable: true, Min: ptr(0.0), Max: ptr(1000.0)}
	mode := drivers.Point{ID: "p", Type: drivers.Text, Readable: true, Writable: true, Enum: []string{"off", "auto", "on"}}
	tests := []struct {
		name   string
		point  drivers.Point
		cfg    hub.PointConfig
		args   wamp.List
		kwargs wamp.Dict
		wrote  drivers.Value
		uri    wamp.URI // "" = accepted
		want   wamp.Dict
	}{
		{name: "a float", point: writable("p", drivers.Float), args: wamp.List{1.5}, wrote: 1.5},
		{name: "an integer for a float", point: writable("p", drivers.Float), args: wamp.List{int64(3)}, wrote: 3.0},
		{name: "a whole float for an integer", point: limited, args: wamp.List{7.0}, wrote: int64(7)},
		{name: "a broken float for an integer", point: limited, args: wamp.List{7.5}, uri: wamp.ErrURIInvalidArgument,
			want: wamp.Dict{"device": "dev", "point": "p", "type": "int", "why": "not_whole"}},
		{name: "a text for a float", point: writable("p", drivers.Float), args: wamp.List{"1.5"}, uri: wamp.ErrURIInvalidArgument,
			want: wamp.Dict{"device": "dev", "point": "p", "type": "float", "why": "type"}},
		{name: "a number for a boolean", point: writable("p", drivers.Bool), args: wamp.List{int64(1)}, uri: wamp.ErrURIInvalidArgument,
			want: wamp.Dict{"device": "dev", "point": "p", "type": "bool", "why": "type"}},
		{name: "a list", point: writable("p", drivers.Float), args: wamp.List{wamp.List{1.0}}, uri: wamp.ErrURIInvalidArgument},
		{name: "null", point: writable("p", drivers.Bool), args: wamp.List{nil}, uri: wamp.ErrURIInvalidArgument},
		{name: "no argument", point: writable("p", drivers.Bool), uri: wamp.ErrURIInvalidArgument,
			want: wamp.Dict{"device": "dev", "point": "p", "type": "bool"}},
		{name: "two arguments", point: writable("p", drivers.Bool), args: wamp.List{true, true}, uri: wamp.ErrURIInvalidArgument},
		{name: "keyword arguments", point: writable("p", drivers.Bool), args: wamp.List{true}, kwargs: wamp.Dict{"x": true}, uri: wamp.ErrURIInvalidArgument},
		{name: "above the device's range", point: limited, args: wamp.List{int64(1001)}, uri: wamp.ErrURIOutOfRange,
			want: wamp.Dict{"device": "dev", "point": "p", "value": int64(1001), "min": 0.0, "max": 1000.0}},
		{name: "below the device's range", point: limited, args: wamp.List{int64(-1)}, uri: wamp.ErrURIOutOfRange},
		{name: "the device's range, scaled", point: limited, cfg: hub.PointConfig{Scale: ptr(0.1)}, args: wamp.List{100.1}, uri: wamp.ErrURIOutOfRange,
			want: wamp.Dict{"device": "dev", "point": "p", "value": 100.1, "min": 0.0, "max": 100.0}},
		{name: "the device's range, turned round by a negative scale", point: limited, cfg: hub.PointConfig{Scale: ptr(-0.1)}, args: wamp.List{-100.0}, wrote: int64(1000)},
		{name: "the narrower range counts", point: limited, cfg: hub.PointConfig{Min: ptr(10.0), Max: ptr(5000.0)}, args: wamp.List{int64(9)}, uri: wamp.ErrURIOutOfRange,
			want: wamp.Dict{"device": "dev", "point": "p", "value": int64(9), "min": 10.0, "max": 1000.0}},
		{name: "on a step", point: limited, cfg: hub.PointConfig{Scale: ptr(0.1), Step: 0.5}, args: wamp.List{22.5}, wrote: int64(225)},
		{name: "between steps", point: limited, cfg: hub.PointConfig{Scale: ptr(0.1), Step: 0.5}, args: wamp.List{22.7}, uri: wamp.ErrURIOutOfRange,
			want: wamp.Dict{"device": "dev", "point": "p", "value": 22.7, "min": 0.0, "max": 100.0, "step": 0.5}},
		{name: "steps count from min", point: limited, cfg: hub.PointConfig{Min: ptr(1.0), Step: 2}, args: wamp.List{int64(7)}, wrote: int64(7)},
		{name: "steps of a tenth", point: writable("p", drivers.Float), cfg: hub.PointConfig{Step: 0.1}, args: wamp.List{0.30000000000000004}, wrote: 0.30000000000000004},
		{name: "scaling is undone", point: writable("p", drivers.Int), cfg: hub.PointConfig{Scale: ptr(0.1), Offset: -40}, args: wamp.List{23.4}, wrote: int64(634)},
		{name: "scaling beyond the device's integers", point: writable("p", drivers.Int), cfg: hub.PointConfig{Scale: ptr(1e-9)}, args: wamp.List{1e15}, uri: wamp.ErrURIOutOfRange,
			want: wamp.Dict{"device": "dev", "point": "p", "value": 1e15, "why": "too_large"}},
		{name: "a text of the enumeration", point: mode, args: wamp.List{"auto"}, wrote: "auto"},
		{name: "a text outside the enumeration", point: mode, args: wamp.List{"full"}, uri: wamp.ErrURIOutOfRange,
			want: wamp.Dict{"device": "dev", "point": "p", "value": "full", "allowed": wamp.List{"off", "auto", "on"}}},
		{name: "a text outside the configured enumeration", point: mode, cfg: hub.PointConfig{Enum: []string{"off", "on"}}, args: wamp.List{"auto"}, uri: wamp.ErrURIOutOfRange,
			want: wamp.Dict{"device": "dev", "point": "p", "value": "auto", "allowed": wamp.List{"off", "on"}}},
		{name: "bytes", point: writable("p", drivers.Bytes), args: wamp.List{[]byte{1, 2}}, wrote: []byte{1, 2}},
		{name: "a point that cannot be written", point: float("p"), args: wamp.List{1.0}, uri: wamp.ErrURIReadOnly,
			want: wamp.Dict{"device": "dev", "point": "p", "access": "r"}},
		{name: "a point that must not be written", point: writable("p", drivers.Float), cfg: hub.PointConfig{Access: "r"}, args: wamp.List{1.0}, uri: wamp.ErrURIReadOnly},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var wrote drivers.Value
			calls := 0
			drv := newScript(tt.point)
			drv.write = func(_ context.Context, _ string, v drivers.Value) (drivers.Value, error) {
				calls++
				wrote = v
				return nil, nil
			}
			cfg := hub.DeviceConfig{Point: map[string]hub.PointConfig{"p": tt.cfg}}
			run(t, []hub.Device{device("dev", drv, cfg)}, func(b *bench) {
				v, kwargs, err := b.call("gantry.barn.set.dev.p", tt.args, tt.kwargs)
				if tt.uri != "" {
					got := details(t, err, tt.uri)
					if got["device"] != "dev" || got["point"] != "p" {
						t.Errorf("details = %v", got)
					}
					if d := cmp.Diff(tt.want, got); tt.want != nil && d != "" {
						t.Errorf("details (-want +got):\n%s", d)
					}
					if calls != 0 || len(b.point("p")) != 0 {
						t.Error("a refused value reached the device or the subscribers")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(tt.wrote, wrote); d != "" {
					t.Errorf("wrote (-want +got):\n%s", d)
				}
				got := b.point("p")
				if len(got) != 1 || cmp.Diff(got[0].value, v) != "" || cmp.Diff(got[0].kwargs, kwargs) != "" {
					t.Errorf("result %v %v is not the event %v", v, kwargs, got)
				}
			})
		})
	}
}

func TestSetReportsWhatTheDeviceSays(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		back drivers.Value
		err  error
		uri  wamp.URI
	}{
		{"the value it has set", int64(41), nil, ""},
		{"that it is busy", nil, fmt.Errorf("motor runs: %w", drivers.ErrBusy), wamp.ErrURIBusy},
		{"that it will not", nil, drivers.ErrRefused, hub.ErrURIRefused},
		{"nothing in time", nil, drivers.ErrTimeout, wamp.ErrURIDevTimeout},
		{"that it is gone", nil, drivers.ErrOffline, wamp.ErrURIOffline},
		{"something unforeseen", nil, errors.New("strange"), wamp.ErrURIRuntimeError},
		{"another value than was written", int64(39), fmt.Errorf("register 3: %w", drivers.ErrNotVerified), wamp.ErrURINotVerified},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			drv := newScript(writable("p", drivers.Int))
			drv.write = func(context.Context, string, drivers.Value) (drivers.Value, error) { return tt.back, tt.err }
			run(t, []hub.Device{device("dev", drv, hub.DeviceConfig{})}, func(b *bench) {
				v, _, err := b.call("gantry.barn.set.dev.p", wamp.List{int64(40)}, nil)
				if tt.uri == "" {
					if err != nil || v != int64(41) {
						t.Errorf("result = %v, %v", v, err)
					}
					return
				}
				got := details(t, err, tt.uri)
				if got["device"] != "dev" || got["point"] != "p" {
					t.Errorf("details = %v", got)
				}
				if tt.uri == wamp.ErrURINotVerified {
					if got["value"] != int64(40) || got["actual"] != int64(39) || b.point("p")[0].value != int64(39) {
						t.Errorf("details = %v, events %v", got, b.point("p"))
					}
				}
			})
		})
	}
}

func TestPanicInARequestAnswersAndRestarts(t *testing.T) {
	t.Parallel()
	drv := newScript(writable("p", drivers.Int))
	drv.write = func(context.Context, string, drivers.Value) (drivers.Value, error) { panic("write") }
	run(t, []hub.Device{device("dev", drv, hub.DeviceConfig{})}, func(b *bench) {
		_, _, err := b.call("gantry.barn.set.dev.p", wamp.List{int64(1)}, nil)
		details(t, err, wamp.ErrURIRuntimeError)
		b.pass(time.Second)
		if d := cmp.Diff([]string{"offline", "online", "offline", "online"}, b.states()); d != "" {
			t.Errorf("states (-want +got):\n%s", d)
		}
		if c := b.hub.Devices()[0].Counters; c.Panics != 1 || c.Restarts != 1 {
			t.Errorf("counters = %+v", c)
		}
	})
}

func TestSetTimesOutAndTheDeviceGoesOn(t *testing.T) {
	t.Parallel()
	drv := newScript(writable("p", drivers.Int))
	drv.write = func(ctx context.Context, _ string, v drivers.Value) (drivers.Value, error) {
		if v == int64(1) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return v, nil
	}
	cfg := hub.DeviceConfig{Timeout: drivers.Duration(time.Second)}
	run(t, []hub.Device{device("dev", drv, cfg)}, func(b *bench) {
		began := time.Now()
		_, _, err := b.call("gantry.barn.set.dev.p", wamp.List{int64(1)}, nil)
		details(t, err, wamp.ErrURIDevTimeout)
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %v", took)
		}
		if v, _, err := b.call("gantry.barn.set.dev.p", wamp.List{int64(2)}, nil); err != nil || v != int64(2) {
			t.Errorf("next set = %v, %v", v, err)
		}
	})
}

func TestGetAsksTheDeviceOrTheCache(t *testing.T) {
	t.Parallel()
	reads := 0
	fail := error(nil)
	drv := newScript(float("a")).polled(func(context.Context, []string) ([]drivers.Reading, error) {
		reads++
		return []drivers.Reading{good("a", float64(reads))}, fail
	})
	cfg := hub.DeviceConfig{Every: ptr(drivers.Duration(0)), Point: map[string]hub.PointConfig{"a": {Deadband: 100}}}
	run(t, []hub.Device{device("dev", drv, cfg)}, func(b *bench) {
		const get = wamp.URI("gantry.barn.get.dev.a")
		v, kwargs, err := b.call(get, nil, wamp.Dict{"max_age": int64(1000)})
		if err != nil || v != 1.0 || kwargs["cached"] != nil || kwargs["q"] != "good" || kwargs["unit"] != "Cel" {
			t.Fatalf("first get = %v %v %v", v, kwargs, err)
		}
		b.pass(time.Second)
		if v, kwargs, err = b.call(get, nil, wamp.Dict{"max_age": 1000.0}); err != nil || v != 1.0 || kwargs["cached"] != true {
			t.Errorf("get within max_age = %v %v %v", v, kwargs, err)
		}
		if v, _, err = b.call(get, nil, wamp.Dict{"max_age": int64(999)}); err != nil || v != 2.0 {
			t.Errorf("get beyond max_age = %v %v", v, err)
		}
		if v, _, err = b.call(get, nil, nil); err != nil || v != 3.0 {
			t.Errorf("get = %v %v", v, err)
		}
		if n := len(b.point("a")); n != 1 {
			t.Errorf("events = %d: what a get brings goes through the deadband", n)
		}
		for _, kw := range []wamp.Dict{{"max_age": int64(-1)}, {"max_age": "1s"}, {"maxage": int64(1)}} {
			_, _, err = b.call(get, nil, kw)
			if d := details(t, err, wamp.ErrURIInvalidArgument); d["device"] != "dev" || d["point"] != "a" || kw[fmt.Sprint(d["argument"])] == nil {
				t.Errorf("%v: details = %v", kw, d)
			}
		}
		_, _, err = b.call(get, wamp.List{int64(1)}, nil)
		if d := details(t, err, wamp.ErrURIInvalidArgument); d["device"] != "dev" || d["point"] != "a" {
			t.Errorf("details = %v", d)
		}
		fail = drivers.ErrTimeout
		_, _, err = b.call(get, nil, nil)
		details(t, err, wamp.ErrURIDevTimeout)
	})
}

func TestGetOfAPushingDevice(t *testing.T) {
	t.Parallel()
	drv := newScript(float("a"))
	cfg := hub.DeviceConfig{Retry: hub.RetryConfig{Min: drivers.Duration(time.Hour)}}
	run(t, []hub.Device{device("dev", drv, cfg)}, func(b *bench) {
		const get = wamp.URI("gantry.barn.get.dev.a")
		_, _, err := b.call(get, nil, nil)
		if d := details(t, err, wamp.ErrURIOffline); d["reason"] != "no_reading" {
			t.Errorf("details = %v", d)
		}
		drv.send(good("a", 5.0))
		synctest.Wait()
		if v, _, err := b.call(get, nil, nil); err != nil || v != 5.0 {
			t.Errorf("get = %v %v", v, err)
		}
		drv.lose(errors.New("unplugged"))
		synctest.Wait()
		_, _, err = b.call(get, nil, nil)
		if d := details(t, err, wamp.ErrURIOffline); d["reason"] != "unplugged" || d["state"] != "offline" {
			t.Errorf("details = %v", d)
		}
		v, kwargs, err := b.call(get, nil, wamp.Dict{"max_age": int64(60_000)})
		if err != nil || v != 5.0 || kwargs["q"] != "stale" {
			t.Errorf("cached get of a lost device = %v %v %v", v, kwargs, err)
		}
	})
}

func TestWritesOvertakePolls(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var order []string
	busy := 0
	work := func(what string) {
		mu.Lock()
		busy++
		if busy > 1 {
			t.Errorf("%s runs beside another request", what)
		}
		order = append(order, what)
		mu.Unlock()
		time.Sleep(time.Second)
		mu.Lock()
		busy--
		mu.Unlock()
	}
	drv := newScript(writable("a", drivers.Float), writable("b", drivers.Float), writable("c", drivers.Float)).polled(
		func(_ context.Context, ids []string) ([]drivers.Reading, error) {
			work("read " + strings.Join(ids, " "))
			var out []drivers.Reading
			for _, id := range ids {
				out = append(out, good(id, 1.0))
			}
			return out, nil
		})
	drv.write = func(_ context.Context, id string, v drivers.Value) (drivers.Value, error) {
		work("write " + id)
		return v, nil
	}
	hour := ptr(drivers.Duration(time.Hour))
	cfg := hub.DeviceConfig{Point: map[string]hub.PointConfig{
		"a": {Every: hour, Group: "one"}, "b": {Every: hour, Group: "two"}, "c": {Every: ptr(drivers.Duration(0))},
	}}
	run(t, []hub.Device{device("dev", drv, cfg)}, func(b *bench) {
		// One poll runs, the other waits. Then a get and a set come.
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, _, err := b.call("gantry.barn.get.dev.c", nil, nil); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if _, _, err := b.call("gantry.barn.set.dev.c", wamp.List{1.0}, nil); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		b.pass(5 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if len(order) != 4 || order[1] != "write c" || order[2] != "read c" {
			t.Errorf("order = %q", order)
		}
	})
}

func TestTooManyRequestsAreRefused(t *testing.T) {
	t.Parallel()
	drv := newScript(writable("a", drivers.Float))
	drv.write = func(ctx context.Context, _ string, v drivers.Value) (drivers.Value, error) {
		select {
		case <-time.After(time.Minute):
			return v, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	cfg := hub.DeviceConfig{Timeout: drivers.Duration(2 * time.Second)}
	run(t, []hub.Device{device("dev", drv, cfg)}, func(b *bench) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		count := map[wamp.URI]int{}
		for range 100 {
			wg.Go(func() {
				_, _, err := b.call("gantry.barn.set.dev.a", wamp.List{1.0}, nil)
				var e *wamp.Error
				if errors.As(err, &e) {
					mu.Lock()
					count[e.URI]++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if count[wamp.ErrURIBusy] < 35 || count[wamp.ErrURIBusy]+count[wamp.ErrURIDevTimeout] != 100 {
			t.Errorf("answers = %v", count)
		}
	})
}

func TestDoReportsProgressAndIsCancelled(t *testing.T) {
	t.Parallel()
	drv := newScript(writable("p", drivers.Float))
	drv.desc.Actions = []drivers.Action{{ID: "move", Progressive: true, Args: []drivers.Point{
		{ID: "to", Type: drivers.Float, Min: ptr(0.0), Max: ptr(100.0)}, {ID: "mode", Type: drivers.Text, Enum: []string{"slow", "fast"}},
	}}, {ID: "beep"}}
	var got map[string]any
	drv.do = func(ctx context.Context, action string, args map[string]any, progress func(any)) (any, error) {
		if action == "beep" {
			return nil, nil
		}
		got = args
		for i := range 4 {
			select {
			case <-time.After(time.Second):
				progress(int64(i * 25))
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return "open", nil
	}
	const move = wamp.URI("gantry.barn.do.dev.move")
	run(t, []hub.Device{device("dev", drv, hub.DeviceConfig{})}, func(b *bench) {
		var seen []any
		done := make(chan struct{})
		go func() {
			defer close(done)
			p, err := b.sess.CallProgress(b.t.Context(), move, wamp.CallOptions{}, wamp.Values(nil, wamp.Dict{"to": int64(50), "mode": "slow"}),
				func(p wamp.Payload) { args, _ := p.GoValues(); seen = append(seen, args[0]) })
			if args, _ := p.GoValues(); err != nil || args[0] != "open" {
				t.Errorf("result = %v, %v", args, err)
			}
		}()
		synctest.Wait()
		// Other requests go on beside it, a second action does not.
		if _, _, err := b.call("gantry.barn.set.dev.p", wamp.List{1.0}, nil); err != nil {
			t.Error(err)
		}
		_, _, err := b.call(move, nil, nil)
		details(t, err, wamp.ErrURIBusy)
		if v, _, err := b.call("gantry.barn.do.dev.beep", nil, nil); err != nil || v != nil {
			t.Errorf("beep = %v, %v", v, err)
		}
		<-done
		if d := cmp.Diff([]any{int64(0), int64(25), int64(50), int64(75)}, seen); d != "" {
			t.Errorf("progress (-want +got):\n%s", d)
		}
		if d := cmp.Diff(map[string]any{"to": 50.0, "mode": "slow"}, got); d != "" {
			t.Errorf("arguments (-want +got):\n%s", d)
		}

		ctx, cancel := context.WithTimeout(b.t.Context(), 1500*time.Millisecond)
		defer cancel()
		began := time.Now()
		if _, err := b.sess.Call(ctx, move, wamp.CallOptions{}, wamp.Payload{}); err == nil || time.Since(began) > 2*time.Second {
			t.Errorf("cancelled action = %v after %v", err, time.Since(began))
		}
		synctest.Wait()
		if _, _, err := b.call(move, nil, nil); err != nil {
			t.Errorf("action after a cancelled one = %v", err)
		}

		_, _, err = b.call(move, wamp.List{50.0}, nil)
		if d := cmp.Diff(wamp.Dict{"device": "dev", "allowed": wamp.List{"mode", "to"}}, details(t, err, wamp.ErrURIInvalidArgument)); d != "" {
			t.Errorf("details (-want +got):\n%s", d)
		}
		for _, wrong := range []struct {
			name  string
			value any
			uri   wamp.URI
			want  wamp.Dict
		}{
			{"too", 50.0, wamp.ErrURIInvalidArgument, wamp.Dict{"allowed": wamp.List{"mode", "to"}}},
			{"to", "half", wamp.ErrURIInvalidArgument, wamp.Dict{"type": "float", "why": "type"}},
			{"to", 101.0, wamp.ErrURIOutOfRange, wamp.Dict{"value": 101.0, "min": 0.0, "max": 100.0}},
			{"mode", "warp", wamp.ErrURIOutOfRange, wamp.Dict{"value": "warp", "allowed": wamp.List{"slow", "fast"}}},
		} {
			_, _, err = b.call(move, nil, wamp.Dict{wrong.name: wrong.value})
			wrong.want["device"], wrong.want["argument"] = "dev", wrong.name
			if d := cmp.Diff(wrong.want, details(t, err, wrong.uri)); d != "" {
				t.Errorf("%s = %v (-want +got):\n%s", wrong.name, wrong.value, d)
			}
		}
	})
}

func TestUnknownNamesAreAnsweredWithWhatThereIs(t *testing.T) {
	t.Parallel()
	drv := newScript(float("a"), writable("led", drivers.Bool))
	run(t, []hub.Device{device("dev", drv, hub.DeviceConfig{})}, func(b *bench) {
		tests := []struct {
			procedure wamp.URI
			uri       wamp.URI
			want      wamp.Dict
		}{
			{"gantry.barn.get.nobody.a", wamp.ErrURINoSuchProcedure, wamp.Dict{"device": "nobody", "allowed": wamp.List{"dev"}}},
			{"gantry.barn.get.dev.b", wamp.ErrURINoSuchProcedure, wamp.Dict{"device": "dev", "point": "b", "allowed": wamp.List{"a", "led"}}},
			{"gantry.barn.set.dev.b", wamp.ErrURINoSuchProcedure, wamp.Dict{"device": "dev", "point": "b", "allowed": wamp.List{"led"}}},
			{"gantry.barn.set.dev.a", wamp.ErrURIReadOnly, wamp.Dict{"device": "dev", "point": "a", "access": "r"}},
			{"gantry.barn.do.dev.blink", wamp.ErrURINoSuchProcedure, wamp.Dict{"device": "dev", "action": "blink", "allowed": wamp.List{}}},
		}
		for _, tt := range tests {
			_, _, err := b.call(tt.procedure, nil, nil)
			if d := cmp.Diff(tt.want, details(t, err, tt.uri)); d != "" {
				t.Errorf("%s (-want +got):\n%s", tt.procedure, d)
			}
		}
	})
}

func TestListDescribeRestart(t *testing.T) {
	t.Parallel()
	drv := newScript(float("a"), writable("led", drivers.Bool))
	drv.desc.Actions = []drivers.Action{{ID: "blink", Description: "blinks", Args: []drivers.Point{{ID: "n", Type: drivers.Int, Unit: "1", Description: "times"}}}}
	cfg := hub.DeviceConfig{Label: "Barn sensor", Point: map[string]hub.PointConfig{"a": {Label: "Air", MaxSilence: drivers.Duration(time.Minute)}}}
	run(t, []hub.Device{device("dev", drv, cfg)}, func(b *bench) {
		drv.send(good("a", 1.0))
		synctest.Wait()
		began := b.states()
		v, _, err := b.call("gantry.barn.sys.device.list", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		d := v.(wamp.List)[0].(wamp.Dict)
		if d["device"] != "dev" || d["state"] != "online" || d["label"] != "Barn sensor" || d["model"] != "script" || d["points"] != int64(2) ||
			d["counters"].(wamp.Dict)["published"] != int64(len(began)+1) {
			t.Errorf("list = %v", d)
		}
		v, _, err = b.call("gantry.barn.sys.device.describe", wamp.List{"dev"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		d = v.(wamp.Dict)
		wantPoint := wamp.Dict{"point": "a", "type": "float", "access": "r", "topic": "gantry.barn.point.dev.a", "label": "Air", "unit": "Cel",
			"max_silence_ms": int64(60000), "stale_after_ms": int64(180000),
			"last": wamp.Dict{"value": 1.0, "ts": time.Now().UnixMicro(), "q": "good", "unit": "Cel", "clk": "sync"}}
		if diff := cmp.Diff(wantPoint, d["points"].(wamp.List)[0]); diff != "" {
			t.Errorf("point (-want +got):\n%s", diff)
		}
		wantAction := wamp.Dict{"action": "blink", "description": "blinks", "progressive": false,
			"args": wamp.List{wamp.Dict{"arg": "n", "type": "int", "unit": "1", "description": "times"}}}
		if diff := cmp.Diff(wantAction, d["actions"].(wamp.List)[0]); diff != "" {
			t.Errorf("action (-want +got):\n%s", diff)
		}
		_, _, err = b.call("gantry.barn.sys.device.describe", wamp.List{"nobody"}, nil)
		details(t, err, wamp.ErrURIInvalidArgument)
		_, _, err = b.call("gantry.barn.sys.device.restart", nil, nil)
		details(t, err, wamp.ErrURIInvalidArgument)
		if v, _, err := b.call("gantry.barn.sys.device.restart", wamp.List{"dev"}, nil); err != nil || v != "dev" {
			t.Errorf("restart = %v, %v", v, err)
		}
		b.pass(time.Millisecond)
		if d := cmp.Diff([]string{"offline", "online", "offline", "online"}, b.states()); d != "" {
			t.Errorf("states (-want +got):\n%s", d)
		}
	})
}

func TestCommandsAreAudited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		sess, drv := newSession(), newScript(writable("led", drivers.Bool))
		withAudit := deps()
		withAudit.Audit = slog.New(slog.NewTextHandler(&log, nil))
		h, err := hub.New(hub.Config{Gateway: "barn", Epoch: 7}, []hub.Device{device("dev", drv, hub.DeviceConfig{})}, sess, withAudit, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- h.Run(ctx) }()
		synctest.Wait()
		b := &bench{t: t, sess: sess, hub: h}
		if _, _, err := b.call("gantry.barn.set.dev.led", wamp.List{true}, nil); err != nil {
			t.Error(err)
		}
		_, _, _ = b.call("gantry.barn.set.dev.led", wamp.List{"on"}, nil)
		_, _, _ = b.call("gantry.barn.sys.device.restart", wamp.List{"dev"}, nil)
		cancel()
		<-ran
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		for i, want := range [][]string{
			{"verb=set", "device=dev", "name=led", "args=[true]", "caller=77", "authid=anna", "authrole=operator", "outcome=done"},
			{"verb=set", "args=[on]", "outcome=wamp.error.invalid_argument"},
			{"verb=restart", "device=dev", "outcome=done"},
		} {
			for _, w := range want {
				if i >= len(lines) || !strings.Contains(lines[i], w) {
					t.Errorf("line %d of %q lacks %s", i, lines, w)
				}
			}
		}
	})
}

func TestDriversKnowWhoAsks(t *testing.T) {
	t.Parallel()
	var wrote, did, secured drivers.Caller
	drv := newScript(writable("led", drivers.Bool))
	drv.desc.Actions = []drivers.Action{{ID: "beep"}}
	drv.write = func(ctx context.Context, _ string, v drivers.Value) (drivers.Value, error) {
		if v == false {
			secured = drivers.CallerOf(ctx)
		} else {
			wrote = drivers.CallerOf(ctx)
		}
		return v, nil
	}
	drv.do = func(ctx context.Context, _ string, _ map[string]any, _ func(any)) (any, error) {
		did = drivers.CallerOf(ctx)
		return nil, nil
	}
	secured.AuthID = "not written"
	run(t, []hub.Device{device("dev", drv, hub.DeviceConfig{Point: map[string]hub.PointConfig{"led": {Safe: &hub.SafeConfig{Value: false}}}})}, func(b *bench) {
		if _, _, err := b.call("gantry.barn.set.dev.led", wamp.List{true}, nil); err != nil {
			t.Error(err)
		}
		if _, _, err := b.call("gantry.barn.do.dev.beep", nil, nil); err != nil {
			t.Error(err)
		}
	})
	anna := drivers.Caller{Session: 77, AuthID: "anna", Role: "operator"}
	if wrote != anna || did != anna || secured != (drivers.Caller{}) {
		t.Errorf("write by %+v, action by %+v, safe value by %+v", wrote, did, secured)
	}
}
