package hub_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"gantry/drivers"
	"gantry/drivers/hub"
	"gantry/wamp"
)

// plant is an actuator that remembers what it was told, and when.
type plant struct {
	*script
	mu     sync.Mutex
	begun  time.Time
	wrote  []string
	fail   error
	values map[string]drivers.Value
}

func newPlant(points ...drivers.Point) *plant {
	p := &plant{script: newScript(points...), values: map[string]drivers.Value{}}
	p.write = func(_ context.Context, id string, v drivers.Value) (drivers.Value, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.wrote = append(p.wrote, fmt.Sprintf("%g %s=%v", time.Since(p.begun).Seconds(), id, v))
		if p.fail != nil {
			return nil, p.fail
		}
		p.values[id] = v
		return v, nil
	}
	return p
}

// log returns what was written, with the seconds since the plant was first told to
// begin.
func (p *plant) log() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.wrote...)
}

func (p *plant) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// inBubble runs a hub with one plant, "dev", in a bubble.
func inBubble(t *testing.T, p *plant, cfg hub.DeviceConfig, f func(b *bench)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p.begun = time.Now()
		b := start(t, newSession(), []hub.Device{device("dev", p, cfg)})
		f(b)
		if err := b.stop(); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
}

func dur(d time.Duration) drivers.Duration { return drivers.Duration(d) }

// must calls a procedure that has to succeed.
func (b *bench) must(procedure wamp.URI, args ...any) {
	b.t.Helper()
	if _, _, err := b.call(procedure, args, nil); err != nil {
		b.t.Errorf("%s(%v) = %v", procedure, args, err)
	}
}

// refused calls a procedure that has to be refused, and returns the details.
func (b *bench) refused(uri wamp.URI, procedure wamp.URI, args ...any) wamp.Dict {
	b.t.Helper()
	_, _, err := b.call(procedure, args, nil)
	return details(b.t, err, uri)
}

const (
	setPump  = wamp.URI("gantry.barn.set.dev.pump")
	setValve = wamp.URI("gantry.barn.set.dev.valve")
)

func onePoint(id string, c hub.PointConfig) hub.DeviceConfig {
	return hub.DeviceConfig{Point: map[string]hub.PointConfig{id: c}}
}

func TestSafeValueComesFirst(t *testing.T) {
	p := newPlant(writable("pump", drivers.Bool), writable("other", drivers.Bool))
	inBubble(t, p, onePoint("pump", hub.PointConfig{Safe: &hub.SafeConfig{Value: false}}), func(b *bench) {
		if d := cmp.Diff([]string{"0 pump=false"}, p.log()); d != "" {
			t.Errorf("writes (-want +got):\n%s", d)
		}
		if got := b.point("pump"); len(got) != 1 || got[0].value != false {
			t.Errorf("events = %v", got)
		}
		// A run of the driver that ends is no reason: the controller is there.
		b.must(setPump, true)
		p.lose(errors.New("unplugged"))
		b.pass(10 * time.Second)
		if d := cmp.Diff([]string{"0 pump=false", "0 pump=true"}, p.log()); d != "" {
			t.Errorf("writes (-want +got):\n%s", d)
		}
	})
	// The end is one.
	if d := cmp.Diff([]string{"0 pump=false", "0 pump=true", "10 pump=false"}, p.log()); d != "" {
		t.Errorf("writes (-want +got):\n%s", d)
	}
}

// TestSafeValueBeforeCommandsAndPolls holds the safe value up and sees that nothing
// overtakes it.
func TestSafeValueBeforeCommandsAndPolls(t *testing.T) {
	t.Parallel()
	for _, shares := range []bool{false, true} {
		var log cell[[]string]
		note := func(s string) { log.store(append(log.load(), s)) }
		drv := newScript(writable("pump", drivers.Bool))
		drv.write = func(_ context.Context, _ string, v drivers.Value) (drivers.Value, error) {
			time.Sleep(time.Second)
			note(fmt.Sprint("write ", v))
			return v, nil
		}
		polled := drv.polled(func(context.Context, []string) ([]drivers.Reading, error) {
			note("read")
			return []drivers.Reading{good("pump", true)}, nil
		})
		d := drivers.Driver(polled)
		if shares {
			d = &sharing{polled}
		}
		cfg := onePoint("pump", hub.PointConfig{Safe: &hub.SafeConfig{Value: false}})
		cfg.Every = ptr(dur(time.Hour))
		run(t, []hub.Device{device("dev", d, cfg)}, func(b *bench) {
			if s := b.states(); s[len(s)-1] != "online" {
				t.Errorf("states = %v", s)
			}
			b.must(setPump, true)
			b.pass(time.Second)
			got := log.load()
			if len(got) != 3 || got[0] != "write false" {
				t.Errorf("%T: %q, want the safe value first", d, got)
			}
		})
	}
}

func TestQuietControllerMakesSafe(t *testing.T) {
	p := newPlant(writable("pump", drivers.Int))
	cfg := onePoint("pump", hub.PointConfig{Scale: ptr(0.1), Safe: &hub.SafeConfig{Value: int64(2), After: dur(time.Minute)}})
	inBubble(t, p, cfg, func(b *bench) {
		b.must(setPump, 5.0)
		b.pass(50 * time.Second)
		b.must(setPump, 6.0)
		b.pass(50 * time.Second)
		b.must("gantry.barn.sys.device.keepalive", "dev")
		b.pass(50 * time.Second)
		if n := len(p.log()); n != 3 {
			t.Errorf("writes = %v", p.log())
		}
		b.pass(11 * time.Second)
		want := []string{"0 pump=20", "0 pump=50", "50 pump=60", "160 pump=20"}
		if d := cmp.Diff(want, p.log()); d != "" {
			t.Errorf("writes (-want +got):\n%s", d)
		}
		if got := b.point("pump"); got[len(got)-1].value != 2.0 {
			t.Errorf("events = %v", got)
		}
		b.must("gantry.barn.sys.device.keepalive", "dev")
		b.refused(wamp.ErrURIInvalidArgument, "gantry.barn.sys.device.keepalive", "nobody")
		b.pass(time.Hour)
		if d := cmp.Diff(want, p.log()); d != "" {
			t.Errorf("a safe point is written (-want +got):\n%s", d)
		}
	})
}

func TestSafeValueIsTriedAgain(t *testing.T) {
	p := newPlant(writable("pump", drivers.Bool))
	p.fail = drivers.ErrBusy
	inBubble(t, p, onePoint("pump", hub.PointConfig{Safe: &hub.SafeConfig{Value: false, After: dur(10 * time.Second)}}), func(b *bench) {
		b.pass(2500 * time.Millisecond)
		if s := b.states(); s[len(s)-1] != "degraded" || b.reason() != "safe_failed" {
			t.Errorf("states = %v, reason %q", s, b.reason())
		}
		p.set(func() { p.fail = nil })
		b.pass(time.Second)
		want := []string{"0 pump=false", "1 pump=false", "2 pump=false", "3 pump=false"}
		if d := cmp.Diff(want, p.log()); d != "" {
			t.Errorf("writes (-want +got):\n%s", d)
		}
		// A command that failed may have been obeyed.
		p.set(func() { p.fail = drivers.ErrTimeout })
		b.refused(wamp.ErrURIDevTimeout, setPump, true)
		p.set(func() { p.fail = nil })
		b.pass(11 * time.Second)
		if got := p.log(); got[len(got)-1] != "13.5 pump=false" {
			t.Errorf("writes = %v", got)
		}
	})
}

// TestSafeValuesDoNotWaitForEachOther has devices that confirm late, or never.
func TestSafeValuesDoNotWaitForEachOther(t *testing.T) {
	p := newPlant(writable("a", drivers.Bool), writable("b", drivers.Bool), writable("c", drivers.Bool))
	safe := hub.PointConfig{Verify: dur(5 * time.Second), Safe: &hub.SafeConfig{Value: false, After: dur(time.Minute)}}
	cfg := hub.DeviceConfig{Point: map[string]hub.PointConfig{"a": safe, "b": safe, "c": safe}}
	inBubble(t, p, cfg, func(b *bench) {
		start := []string{"0 a=false", "0 b=false", "0 c=false"}
		if d := cmp.Diff(start, p.log()); d != "" {
			t.Errorf("writes (-want +got):\n%s", d)
		}
		b.pass(time.Second)
		p.send(good("a", false))
		p.send(good("b", false))
		synctest.Wait()
		// c says nothing: it is written again.
		b.pass(10 * time.Second)
		got := p.log()
		if len(got) < 4 || got[len(got)-1][len(got[len(got)-1])-7:] != "c=false" {
			t.Errorf("writes = %v", got)
		}
		for _, w := range got[3:] {
			if w[len(w)-7:] != "c=false" {
				t.Errorf("written again although it was confirmed: %v", got)
			}
		}
	})
	// At the end there is no time to confirm anything.
	got := p.log()
	if end := got[len(got)-1]; end[len(end)-7:] != "c=false" {
		t.Errorf("writes = %v", got)
	}
}

// TestCommandBeatsTheConfirmationOfASafeValue sets a point while its safe value
// waits to be confirmed: the safe value does not come back.
func TestCommandBeatsTheConfirmationOfASafeValue(t *testing.T) {
	p := newPlant(writable("pump", drivers.Bool))
	inBubble(t, p, onePoint("pump", hub.PointConfig{Verify: dur(5 * time.Second), Safe: &hub.SafeConfig{Value: false}}), func(b *bench) {
		go func() {
			time.Sleep(2 * time.Second)
			p.send(good("pump", true))
		}()
		b.pass(time.Second)
		b.must(setPump, true)
		b.pass(time.Minute)
		if d := cmp.Diff([]string{"0 pump=false", "1 pump=true"}, p.log()); d != "" {
			t.Errorf("writes (-want +got):\n%s", d)
		}
	})
}

func TestSafeValueThatCameDueWhileTheDeviceWasAway(t *testing.T) {
	p := newPlant(writable("pump", drivers.Bool))
	cfg := onePoint("pump", hub.PointConfig{Safe: &hub.SafeConfig{Value: false, After: dur(10 * time.Second)}})
	cfg.Retry.Min = dur(20 * time.Second)
	inBubble(t, p, cfg, func(b *bench) {
		b.must(setPump, true)
		b.pass(time.Second)
		p.lose(errors.New("unplugged"))
		b.pass(21 * time.Second)
		if got := p.log(); got[len(got)-1] != "21 pump=false" {
			t.Errorf("writes = %v", got)
		}
	})
}

func TestLimits(t *testing.T) {
	p := newPlant(writable("pump", drivers.Bool))
	cfg := onePoint("pump", hub.PointConfig{Limit: hub.LimitConfig{
		Every: dur(time.Second), MaxOn: dur(30 * time.Second), MinOff: dur(10 * time.Second),
	}})
	inBubble(t, p, cfg, func(b *bench) {
		got := b.refused(wamp.ErrURISafeLock, setPump, true)
		want := wamp.Dict{"device": "dev", "point": "pump", "value": true, "why": "min_off", "retry_ms": int64(10000)}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("details (-want +got):\n%s", d)
		}
		b.pass(10 * time.Second)
		b.must(setPump, true)
		got = b.refused(wamp.ErrURIBusy, setPump, false)
		want = wamp.Dict{"device": "dev", "point": "pump", "value": false, "why": "rate", "retry_ms": int64(1000)}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("details (-want +got):\n%s", d)
		}
		b.pass(20 * time.Second)
		b.must(setPump, true) // goes on, and does not begin anew
		b.pass(9999 * time.Millisecond)
		p.set(func() { p.fail = drivers.ErrBusy })
		b.pass(500 * time.Millisecond)
		p.set(func() { p.fail = nil })
		b.pass(time.Second)
		writes := []string{"10 pump=true", "30 pump=true", "40 pump=false", "41 pump=false"}
		if d := cmp.Diff(writes, p.log()); d != "" {
			t.Errorf("writes (-want +got):\n%s", d)
		}
		b.refused(wamp.ErrURISafeLock, setPump, true)
		b.pass(time.Hour)
		if d := cmp.Diff(writes, p.log()); d != "" {
			t.Errorf("writes (-want +got):\n%s", d)
		}
		// Somebody else switches it on: that counts, too.
		p.send(good("pump", true))
		b.pass(time.Minute)
		if got := p.log(); len(got) != 5 || got[4][len(got[4])-10:] != "pump=false" {
			t.Errorf("writes = %v", got)
		}
	})
}

func TestRulesAreDescribed(t *testing.T) {
	p := newPlant(writable("pump", drivers.Bool), writable("valve", drivers.Int))
	cfg := onePoint("pump", hub.PointConfig{
		Limit:  hub.LimitConfig{Every: dur(time.Second), MaxOn: dur(30 * time.Second), MinOff: dur(10 * time.Second), NotWith: []string{"valve"}},
		Safe:   &hub.SafeConfig{Value: false, After: dur(time.Minute)},
		Verify: dur(2 * time.Second),
	})
	inBubble(t, p, cfg, func(b *bench) {
		v, _, err := b.call("gantry.barn.sys.device.describe", wamp.List{"dev"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := v.(wamp.Dict)["points"].(wamp.List)[0].(wamp.Dict)
		delete(got, "last")
		want := wamp.Dict{"point": "pump", "type": "bool", "access": "rw", "topic": "gantry.barn.point.dev.pump",
			"min_interval_ms": int64(1000), "max_on_ms": int64(30000), "min_off_ms": int64(10000), "not_with": wamp.List{"dev.valve"},
			"safe": false, "safe_after_ms": int64(60000), "verify_ms": int64(2000)}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("point (-want +got):\n%s", d)
		}
	})
}

func TestInterlock(t *testing.T) {
	p := newPlant(writable("pump", drivers.Bool), writable("valve", drivers.Int), drivers.Point{ID: "door", Type: drivers.Bool, Readable: true})
	cfg := onePoint("pump", hub.PointConfig{Limit: hub.LimitConfig{NotWith: []string{"valve", "dev.door", "far.lamp"}}})
	inBubble(t, p, cfg, func(b *bench) {
		refused := func(procedure wamp.URI, v any, other, state string) {
			t.Helper()
			got := b.refused(wamp.ErrURISafeLock, procedure, v)
			want := wamp.Dict{"device": got["device"], "point": got["point"], "value": v, "why": "not_with", "other": other, "state": state}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("details (-want +got):\n%s", d)
			}
		}
		refused(setPump, true, "dev.valve", "unknown")
		b.must(setPump, false)
		b.must(setValve, int64(0))
		refused(setPump, true, "dev.door", "unknown")
		p.send(good("door", false))
		synctest.Wait()
		refused(setPump, true, "far.lamp", "unknown")
		far := newPlant(writable("lamp", drivers.Bool))
		if err := b.hub.AddDevice(device("far", far, hub.DeviceConfig{})); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.must("gantry.barn.set.far.lamp", false)
		b.must(setPump, true)
		refused(setValve, int64(7), "dev.pump", "on") // it holds both ways
		refused("gantry.barn.set.far.lamp", true, "dev.pump", "on")
		b.must(setPump, false)
		b.must(setValve, int64(7))
		refused(setPump, true, "dev.valve", "on")
		b.must(setValve, int64(0))
		p.send(good("door", true))
		synctest.Wait()
		refused(setPump, true, "dev.door", "on")
		p.send(drivers.Reading{Point: "door", Quality: drivers.Bad, Why: "checksum"})
		synctest.Wait()
		refused(setPump, true, "dev.door", "unknown")
		if n := len(p.log()); n != 6 {
			t.Errorf("writes = %v", p.log())
		}
	})
}

// TestInterlockHoldsAgainstTwoAtATime lets two callers switch on what may not be on
// together, while the wire is slow.
func TestInterlockHoldsAgainstTwoAtATime(t *testing.T) {
	t.Parallel()
	slow := func(ctx context.Context, _ string, v drivers.Value) (drivers.Value, error) {
		time.Sleep(time.Second)
		return v, nil
	}
	a, z := newScript(writable("run", drivers.Bool)), newScript(writable("run", drivers.Bool))
	a.write, z.write = slow, slow
	cfg := onePoint("run", hub.PointConfig{Limit: hub.LimitConfig{NotWith: []string{"z.run"}}})
	run(t, []hub.Device{device("a", a, cfg), device("z", z, hub.DeviceConfig{})}, func(b *bench) {
		b.must("gantry.barn.set.a.run", false)
		b.must("gantry.barn.set.z.run", false)
		var wg sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for _, p := range []wamp.URI{"gantry.barn.set.a.run", "gantry.barn.set.z.run"} {
			for range 4 {
				wg.Go(func() {
					_, _, err := b.call(p, wamp.List{true}, nil)
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						won++
						return
					}
					if d := details(t, err, wamp.ErrURISafeLock); d["state"] != "changing" {
						t.Errorf("details = %v", d)
					}
				})
			}
		}
		wg.Wait()
		if won != 4 {
			t.Errorf("%d calls succeeded, want those of one side", won)
		}
	})
}

func TestVerify(t *testing.T) {
	p := newPlant(writable("pump", drivers.Float))
	var held cell[drivers.Value]
	held.store(0.5)
	reads, failing := 0, 0
	polled := &polledScript{script: p.script, read: func(context.Context, []string) ([]drivers.Reading, error) {
		reads++
		if failing > 0 {
			failing--
			return nil, drivers.ErrTimeout
		}
		return []drivers.Reading{good("pump", held.load())}, nil
	}}
	t.Parallel()
	cfg := onePoint("pump", hub.PointConfig{Verify: dur(time.Second), Scale: ptr(10.0)})
	cfg.Every = ptr(dur(0))
	run(t, []hub.Device{device("dev", polled, cfg)}, func(b *bench) {
		p.begun = time.Now()
		write := p.script.write
		p.script.write = func(ctx context.Context, id string, v drivers.Value) (drivers.Value, error) {
			f, _ := v.(float64)
			time.AfterFunc(120*time.Millisecond, func() { held.store(float64(float32(f))) })
			return write(ctx, id, v)
		}
		failing = 1
		began := time.Now()
		v, _, err := b.call(setPump, wamp.List{1.0}, nil)
		if f, _ := v.(float64); err != nil || f < 0.999 || f > 1.001 || reads != 4 || time.Since(began) != 150*time.Millisecond {
			t.Errorf("set = %v, %v after %d reads and %v", v, err, reads, time.Since(began))
		}
		p.script.write = write // it says yes and does nothing
		began = time.Now()
		got := b.refused(wamp.ErrURINotVerified, setPump, 7.0)
		if f, _ := got["actual"].(float64); got["value"] != 7.0 || f < 0.999 || f > 1.001 || time.Since(began) != time.Second {
			t.Errorf("details = %v after %v", got, time.Since(began))
		}
		failing = 1000
		if got := b.refused(wamp.ErrURINotVerified, setPump, 7.0); got["actual"] != nil {
			t.Errorf("details = %v", got)
		}
	})
}

func TestVerifyListensToADeviceThatCannotBeAsked(t *testing.T) {
	p := newPlant(writable("pump", drivers.Bool))
	inBubble(t, p, onePoint("pump", hub.PointConfig{Verify: dur(time.Second)}), func(b *bench) {
		say := func(after time.Duration, v bool) {
			time.AfterFunc(after, func() { p.send(good("pump", v)) })
		}
		p.send(good("pump", true)) // before the write: proves nothing
		synctest.Wait()
		say(300*time.Millisecond, false)
		say(600*time.Millisecond, true)
		began := time.Now()
		b.must(setPump, true)
		if took := time.Since(began); took != 600*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if got := b.refused(wamp.ErrURINotVerified, setPump, false); got["actual"] != nil {
			t.Errorf("details = %v", got)
		}
		say(300*time.Millisecond, true)
		if got := b.refused(wamp.ErrURINotVerified, setPump, false); got["actual"] != true {
			t.Errorf("details = %v", got)
		}
	})
}

func TestMaskKeepsTheOtherBits(t *testing.T) {
	t.Parallel()
	var register cell[int64]
	register.store(0x1234)
	drv := newScript(writable("mode", drivers.Int))
	drv.write = func(_ context.Context, _ string, v drivers.Value) (drivers.Value, error) {
		register.store(v.(int64))
		return v, nil
	}
	polled := drv.polled(func(context.Context, []string) ([]drivers.Reading, error) {
		return []drivers.Reading{good("mode", register.load())}, nil
	})
	cfg := onePoint("mode", hub.PointConfig{Mask: 0x00F0, Map: map[string]string{"3": "heat", "4": "cool"}, Verify: dur(time.Second)})
	run(t, []hub.Device{device("dev", polled, cfg)}, func(b *bench) {
		const set = wamp.URI("gantry.barn.set.dev.mode")
		v, _, err := b.call(set, wamp.List{"cool"}, nil)
		if err != nil || v != "cool" || register.load() != 0x1244 {
			t.Errorf("set = %v, %v, register %#x", v, err, register.load())
		}
		got := b.refused(wamp.ErrURIOutOfRange, set, "off")
		if d := cmp.Diff(wamp.Dict{"device": "dev", "point": "mode", "value": "off", "allowed": wamp.List{"cool", "heat"}}, got); d != "" {
			t.Errorf("details (-want +got):\n%s", d)
		}
		register.store(0x0020)
		b.pass(10 * time.Second)
		all := b.point("mode")
		if last := all[len(all)-1]; last.kwargs["q"] != "bad" || last.kwargs["why"] != "unmapped" {
			t.Errorf("last event = %+v", last)
		}
	})
}
