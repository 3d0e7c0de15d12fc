package hub_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"gantry/drivers"
	"gantry/drivers/hub"
	"gantry/wamp"
)

func TestReadingBecomesAnEvent(t *testing.T) {
	t.Parallel()
	drv := newScript(float("temperature"))
	cfg := hub.DeviceConfig{Point: map[string]hub.PointConfig{"temperature": {Scale: ptr(0.1), Offset: -40, Unit: "Cel"}}}
	run(t, []hub.Device{device("dev", drv, cfg)}, func(b *bench) {
		at := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
		drv.send(drivers.Reading{Point: "temperature", Value: 634.0, Time: at})
		synctest.Wait()
		got := b.point("temperature")
		if len(got) != 1 {
			t.Fatalf("events = %d, want 1", len(got))
		}
		want := wamp.Dict{"ts": at.UnixMicro(), "q": "good", "unit": "Cel", "seq": int64(1), "ep": int64(7), "clk": "sync"}
		if d := cmp.Diff(want, got[0].kwargs); d != "" {
			t.Errorf("kwargs (-want +got):\n%s", d)
		}
		if v, ok := got[0].value.(float64); !ok || v != 63.4-40 {
			t.Errorf("value = %v, want %v", got[0].value, 63.4-40)
		}
		if o := got[0].opts; !o.Retain || o.Unretain || o.Acknowledge {
			t.Errorf("options = %+v, want retain only", o)
		}
		if d := cmp.Diff([]string{"offline", "online"}, b.states()); d != "" {
			t.Errorf("states (-want +got):\n%s", d)
		}
	})
}

func TestSeqCountsPerStreamAcrossRestartsAndReplacement(t *testing.T) {
	t.Parallel()
	drv := newScript(float("a"), float("b"))
	run(t, []hub.Device{device("dev", drv, hub.DeviceConfig{})}, func(b *bench) {
		for i := range 3 {
			drv.send(good("a", float64(i)))
		}
		drv.send(good("b", 1.0))
		synctest.Wait()
		if err := b.hub.RestartDevice("dev"); err != nil {
			t.Fatal(err)
		}
		b.pass(time.Second)
		next := newScript(float("a"))
		if err := b.hub.ReplaceDevice(device("dev", next, hub.DeviceConfig{})); err != nil {
			t.Fatal(err)
		}
		b.pass(time.Second)
		next.send(good("a", 9.0))
		synctest.Wait()
		var last int64
		for _, e := range b.point("a") {
			if seq := e.kwargs["seq"].(int64); seq != last+1 {
				t.Errorf("seq %d follows %d", seq, last)
			} else {
				last = seq
			}
		}
		if last < 5 {
			t.Errorf("last seq of a = %d, want at least 5", last)
		}
		all := b.point("b")
		if all[0].kwargs["seq"] != int64(1) {
			t.Errorf("seq of b starts at %v", all[0].kwargs["seq"])
		}
		if o := all[len(all)-1].opts; !o.Unretain || o.Retain {
			t.Errorf("the point that is gone is not forgotten: %+v", o)
		}
		if all := b.point("a"); all[len(all)-1].value != 9.0 {
			t.Errorf("last value = %v", all[len(all)-1].value)
		}
	})
}

func TestLossMakesPointsStaleOnce(t *testing.T) {
	t.Parallel()
	drv := newScript(float("a"), float("never"))
	cfg := hub.DeviceConfig{Retry: hub.RetryConfig{Min: drivers.Duration(time.Second), Max: drivers.Duration(time.Second)}}
	run(t, []hub.Device{device("dev", drv, cfg)}, func(b *bench) {
		drv.send(good("a", 4.5))
		drv.lose(errors.New("open /dev/ttyUSB0: no such file"))
		synctest.Wait()
		got := b.point("a")
		if len(got) != 2 || got[1].value != 4.5 || got[1].kwargs["q"] != "stale" || got[1].kwargs["why"] != "offline" {
			t.Fatalf("events = %v", got)
		}
		if got[1].kwargs["ts"] != got[0].kwargs["ts"] {
			t.Error("a stale value is not of the time at which it was measured")
		}
		if b.reason() != "open /dev/ttyUSB0: no such file" {
			t.Errorf("reason = %q", b.reason())
		}
		b.pass(1500 * time.Millisecond)
		drv.send(good("a", 4.5))
		synctest.Wait()
		got = b.point("a")
		if len(got) != 3 || got[2].kwargs["q"] != "good" {
			t.Fatalf("after the return: %v", got)
		}
		if d := cmp.Diff([]string{"offline", "online", "offline", "online"}, b.states()); d != "" {
			t.Errorf("states (-want +got):\n%s", d)
		}
		if n := len(b.point("never")); n != 0 {
			t.Errorf("%d events of a point that was never read", n)
		}
	})
}

func TestShutdownSaysGoodbye(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		drv := newScript(float("a"))
		b := start(t, newSession(), []hub.Device{device("dev", drv, hub.DeviceConfig{})})
		drv.send(good("a", 1.0))
		synctest.Wait()
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
		got := b.point("a")
		if last := got[len(got)-1]; last.kwargs["q"] != "stale" || last.kwargs["why"] != "stopped" || !last.opts.Retain {
			t.Errorf("last event = %+v", last)
		}
		if s := b.states(); s[len(s)-1] != "offline" || b.reason() != "stopped" {
			t.Errorf("states %v, reason %q", s, b.reason())
		}
		if p := b.sess.procedures(); len(p) != 0 {
			t.Errorf("still registered: %v", p)
		}
	})
}

func TestProceduresAreRegistered(t *testing.T) {
	t.Parallel()
	drv := newScript(float("a"), writable("led", drivers.Bool), drivers.Point{ID: "cmd", Type: drivers.Text, Writable: true})
	drv.desc.Actions = []drivers.Action{{ID: "calibrate"}}
	run(t, []hub.Device{device("dev", drv, hub.DeviceConfig{})}, func(b *bench) {
		want := []wamp.URI{
			"gantry.barn.do..", "gantry.barn.do.dev.calibrate",
			"gantry.barn.get..", "gantry.barn.get.dev.a", "gantry.barn.get.dev.led",
			"gantry.barn.set..", "gantry.barn.set.dev.cmd", "gantry.barn.set.dev.led",
			"gantry.barn.sys.device.accept", "gantry.barn.sys.device.describe", "gantry.barn.sys.device.forget", "gantry.barn.sys.device.ignore",
			"gantry.barn.sys.device.keepalive", "gantry.barn.sys.device.list", "gantry.barn.sys.device.pending", "gantry.barn.sys.device.restart",
		}
		if d := cmp.Diff(want, b.sess.procedures()); d != "" {
			t.Errorf("procedures (-want +got):\n%s", d)
		}
		if err := b.hub.RemoveDevice("dev"); err != nil {
			t.Fatal(err)
		}
		if got := b.sess.procedures(); len(got) != 11 {
			t.Errorf("after removal: %v", got)
		}
	})
}

func TestRefusedRegistrationIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sess := newSession()
		taken := true
		sess.deny = func(uri wamp.URI, opts wamp.RegisterOptions) error {
			switch {
			case opts.DiscloseCaller:
				return wamp.NewError(wamp.ErrURIOptionDisallowedDisclose, "no", nil)
			case taken && strings.Contains(string(uri), ".set."):
				return wamp.NewError(wamp.ErrURIProcedureAlreadyExists, "taken", nil)
			}
			return nil
		}
		b := start(t, sess, []hub.Device{device("dev", newScript(writable("led", drivers.Bool)), hub.DeviceConfig{})})
		if slices.Contains(sess.procedures(), "gantry.barn.set.dev.led") {
			t.Fatal("registered too early")
		}
		sess.set(func(*session) { taken = false })
		b.pass(20 * time.Second)
		if !slices.Contains(sess.procedures(), "gantry.barn.set.dev.led") {
			t.Errorf("not registered in the end: %v", sess.procedures())
		}
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestReadyComesWithTheProcedures has one of the hub's own refused for a while.
func TestReadyComesWithTheProcedures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sess := newSession()
		taken := true
		sess.deny = func(uri wamp.URI, _ wamp.RegisterOptions) error {
			if taken && uri == "gantry.barn.sys.device.accept" {
				return wamp.NewError(wamp.ErrURIProcedureAlreadyExists, "taken", nil)
			}
			return nil
		}
		b := start(t, sess, []hub.Device{device("dev", newScript(writable("led", drivers.Bool)), hub.DeviceConfig{})})
		select {
		case <-b.hub.Ready():
			t.Error("ready without a procedure")
		default:
		}
		sess.set(func(*session) { taken = false })
		b.pass(20 * time.Second)
		select {
		case <-b.hub.Ready():
		default:
			t.Error("not ready in the end")
		}
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestWhoHearsOfADeviceMayCallIt has a router that is slow to register.
func TestWhoHearsOfADeviceMayCallIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sess := newSession()
		held := make(chan struct{})
		sess.held = held
		b := start(t, sess, []hub.Device{device("dev", newScript(writable("led", drivers.Bool)), hub.DeviceConfig{})})
		b.pass(time.Second)
		if slices.Contains(b.states(), "online") {
			t.Errorf("%v before there is a procedure", b.states())
		}
		close(held)
		synctest.Wait()
		if s := b.states(); s[len(s)-1] != "online" {
			t.Errorf("in the end it is %v", s)
		}
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestEndOfTheSessionEndsRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, newSession(), []hub.Device{device("dev", newScript(float("a")), hub.DeviceConfig{})})
		close(b.sess.done)
		synctest.Wait()
		if err := b.stop(); !errors.Is(err, wamp.ErrClosed) {
			t.Errorf("Run = %v, want ErrClosed", err)
		}
	})
}

func TestEmitWaitsForTheSession(t *testing.T) {
	t.Parallel()
	drv := newScript(float("a"))
	run(t, []hub.Device{device("dev", drv, hub.DeviceConfig{})}, func(b *bench) {
		gate := make(chan struct{})
		b.sess.set(func(s *session) { s.blocked = gate })
		drv.send(good("a", 1.0))
		synctest.Wait()
		select {
		case drv.readings <- good("a", 2.0):
			t.Error("a second reading was taken while the session is full")
		default:
		}
		b.sess.set(func(s *session) { s.blocked = nil })
		close(gate)
		drv.send(good("a", 2.0))
		synctest.Wait()
		if n := len(b.point("a")); n != 2 {
			t.Errorf("events = %d, want 2", n)
		}
	})
}

func TestStopWhileTheSessionIsFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		drv := newScript(float("a"))
		b := start(t, newSession(), []hub.Device{device("dev", drv, hub.DeviceConfig{})})
		b.sess.set(func(s *session) { s.blocked = make(chan struct{}) })
		drv.send(good("a", 1.0))
		began := time.Now()
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("stopping took %v", took)
		}
	})
}

func TestWhatTheSessionRefusedIsPublishedLater(t *testing.T) {
	t.Parallel()
	drv := newScript(float("a"))
	cfg := hub.DeviceConfig{Point: map[string]hub.PointConfig{"a": {Deadband: 10}}}
	run(t, []hub.Device{device("dev", drv, cfg)}, func(b *bench) {
		drv.send(good("a", 1.0))
		synctest.Wait()
		b.sess.set(func(s *session) { s.refuse = wamp.ErrNotConnected })
		for range 100 {
			drv.send(good("a", 50.0))
			b.pass(10 * time.Millisecond)
		}
		b.pass(3 * time.Second)
		b.sess.set(func(s *session) { s.refuse = nil })
		b.pass(2 * time.Second)
		got := b.point("a")
		if len(got) != 2 || got[1].value != 50.0 {
			t.Fatalf("events = %v", got)
		}
		if seq := got[1].kwargs["seq"].(int64); seq < 3 || seq > 120 {
			t.Errorf("seq = %d: a refused event uses its number up, and the hub does not hammer", seq)
		}
	})
}

func TestNewSessionIDPublishesEverythingAgain(t *testing.T) {
	t.Parallel()
	drv := newScript(float("a"))
	run(t, []hub.Device{device("dev", drv, hub.DeviceConfig{})}, func(b *bench) {
		drv.send(good("a", 1.0))
		synctest.Wait()
		b.sess.set(func(s *session) { s.id, s.events = 2, nil })
		b.pass(3 * time.Second)
		if got := b.point("a"); len(got) != 1 || got[0].value != 1.0 {
			t.Errorf("point events = %v", got)
		}
		if d := cmp.Diff([]string{"online"}, b.states()); d != "" {
			t.Errorf("states (-want +got):\n%s", d)
		}
	})
}

func TestPanickedDriverIsRenewed(t *testing.T) {
	t.Parallel()
	first := newScript(float("a"))
	first.run = func(context.Context, drivers.Link) error { panic("broken") }
	second := newScript(float("a"))
	dev := device("dev", first, hub.DeviceConfig{})
	dev.Renew = func() (drivers.Driver, error) { return second, nil }
	run(t, []hub.Device{dev}, func(b *bench) {
		if !strings.HasPrefix(b.reason(), "panic: broken") {
			t.Errorf("reason = %q", b.reason())
		}
		b.pass(time.Second)
		second.send(good("a", 1.0))
		synctest.Wait()
		if len(b.point("a")) != 1 {
			t.Error("the fresh driver is not heard")
		}
	})
}

func TestRestartsBackOffAndParkAndRecover(t *testing.T) {
	t.Parallel()
	var log cell[[]time.Time]
	var works atomic.Bool
	drv := newScript(float("a"))
	drv.run = func(ctx context.Context, link drivers.Link) error {
		log.store(append(log.load(), time.Now()))
		if !works.Load() {
			return errors.New("no such device")
		}
		link.Up()
		<-ctx.Done()
		return nil
	}
	cfg := hub.DeviceConfig{Retry: hub.RetryConfig{ParkAfter: ptr(6)}}
	run(t, []hub.Device{device("dev", drv, cfg)}, func(b *bench) {
		b.pass(2 * time.Minute)
		if d := cmp.Diff([]string{"offline", "offline", "parked"}, b.states()); d != "" {
			// starting, its reason, and then one event only.
			t.Errorf("states (-want +got):\n%s", d)
		}
		// Random is 0: the shortest of each range.
		starts := log.load()
		for i := 1; i < 6; i++ {
			if gap := starts[i].Sub(starts[i-1]); gap != 200*time.Millisecond {
				t.Errorf("gap %d = %v", i, gap)
			}
		}
		if gap := starts[7].Sub(starts[6]); gap != 30*time.Second {
			t.Errorf("gap of a parked device = %v", gap)
		}
		works.Store(true)
		b.pass(31 * time.Second)
		if s := b.states(); s[len(s)-1] != "online" {
			t.Errorf("states = %v", s)
		}
	})
}

func TestDriverThatNeverReturnsIsParkedAndLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		stuck := newScript(float("a"))
		stuck.run = func(_ context.Context, link drivers.Link) error {
			link.Up()
			<-release
			link.Emit(good("a", 1.0))
			return nil
		}
		b := start(t, newSession(), []hub.Device{device("dev", stuck, hub.DeviceConfig{}), device("other", newScript(float("a")), hub.DeviceConfig{})})
		if err := b.hub.RestartDevice("dev"); err != nil {
			t.Fatal(err)
		}
		b.pass(3 * time.Second)
		if s := b.states(); s[len(s)-1] != "parked" || b.reason() != "stuck" {
			t.Errorf("states = %v, reason %q", s, b.reason())
		}
		began := time.Now()
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("stopping took %v", took)
		}
		close(release)
		synctest.Wait()
		if n := len(b.point("a")); n != 0 {
			t.Errorf("%d events after the end", n)
		}
	})
}

func TestDevicesComeAndGo(t *testing.T) {
	t.Parallel()
	run(t, nil, func(b *bench) {
		drv := newScript(float("a"))
		if err := b.hub.AddDevice(device("dev", drv, hub.DeviceConfig{})); err != nil {
			t.Fatal(err)
		}
		if err := b.hub.AddDevice(device("dev", drv, hub.DeviceConfig{})); !errors.Is(err, hub.ErrExists) {
			t.Errorf("second add = %v", err)
		}
		drv.send(good("a", 1.0))
		synctest.Wait()
		if err := b.hub.ReplaceDevice(device("dev", newScript(float("a"), float("a")), hub.DeviceConfig{})); err == nil {
			t.Error("a bad device was accepted")
		}
		drv.send(good("a", 2.0))
		synctest.Wait()
		if len(b.point("a")) != 2 {
			t.Error("the device that was there does not go on")
		}
		if err := b.hub.RemoveDevice("dev"); err != nil {
			t.Fatal(err)
		}
		if err := b.hub.RemoveDevice("dev"); !errors.Is(err, hub.ErrNoDevice) {
			t.Errorf("second removal = %v", err)
		}
		got := b.point("a")
		if last := got[len(got)-1]; !last.opts.Unretain || last.opts.Retain || last.kwargs["why"] != "removed" {
			t.Errorf("last event = %+v", last)
		}
		links := b.sess.on(hub.LinkTopic("barn", "dev"))
		if last := links[len(links)-1]; last.value != "offline" || !last.opts.Unretain || last.opts.Retain {
			t.Errorf("last state = %+v", last)
		}
		if len(b.hub.Devices()) != 0 {
			t.Error("the device is still listed")
		}
	})
}

func TestDisabledDeviceIsListedOnly(t *testing.T) {
	t.Parallel()
	drv := newScript(writable("led", drivers.Bool))
	drv.run = func(context.Context, drivers.Link) error { t.Error("started"); return nil }
	run(t, []hub.Device{device("dev", drv, hub.DeviceConfig{Disabled: true})}, func(b *bench) {
		if d := cmp.Diff([]string{"parked"}, b.states()); d != "" {
			t.Errorf("states (-want +got):\n%s", d)
		}
		_, _, err := b.call("gantry.barn.set.dev.led", wamp.List{true}, nil)
		if d := details(t, err, wamp.ErrURIOffline); d["reason"] != "disabled" || d["state"] != "parked" {
			t.Errorf("details = %v", d)
		}
	})
}

func TestConstructorRefuses(t *testing.T) {
	t.Parallel()
	cfg := hub.Config{Gateway: "barn", Epoch: 1}
	boom := newScript()
	boom.desc.Points = []drivers.Point{{ID: "Not A Name"}}
	tests := []struct {
		name string
		cfg  hub.Config
		dev  []hub.Device
		want string
	}{
		{"a gateway without name", hub.Config{Epoch: 1}, nil, "gateway.name"},
		{"an upper-case gateway", hub.Config{Gateway: "Barn", Epoch: 1}, nil, "gateway.name"},
		{"epoch 0", hub.Config{Gateway: "barn"}, nil, "epoch"},
		{"a device with a dot", cfg, []hub.Device{device("a.b", newScript(), hub.DeviceConfig{})}, "device.a.b"},
		{"two devices of one name", cfg, []hub.Device{device("a", newScript(), hub.DeviceConfig{}), device("a", newScript(), hub.DeviceConfig{})}, "exists"},
		{"a device without driver", cfg, []hub.Device{{Name: "a", Config: hub.DeviceConfig{Driver: "x"}}}, "no driver"},
		{"a point that is no name", cfg, []hub.Device{device("a", boom, hub.DeviceConfig{})}, "Not A Name"},
	}
	for _, tt := range tests {
		_, err := hub.New(tt.cfg, tt.dev, newSession(), deps(), nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want %q in it", tt.name, err, tt.want)
		}
	}
	if _, err := hub.New(cfg, nil, newSession(), hub.Deps{}, nil); err == nil {
		t.Error("a hub without Decode was made")
	}
	if err := hub.CheckDevice(device("a", newScript(float("x")), hub.DeviceConfig{})); err != nil {
		t.Errorf("CheckDevice of a good device = %v", err)
	}
}

func TestFlappingDeviceIsReportedInOrder(t *testing.T) {
	t.Parallel()
	drv := newScript(float("a"))
	n := 0
	drv.run = func(ctx context.Context, link drivers.Link) error {
		n++
		link.Up()
		link.Emit(good("a", float64(n)))
		return fmt.Errorf("loss %d", n)
	}
	run(t, []hub.Device{device("dev", drv, hub.DeviceConfig{})}, func(b *bench) {
		b.pass(time.Minute)
		for i, s := range b.states() {
			if want := []string{"offline", "online"}[i%2]; s != want {
				t.Fatalf("state %d = %s, want %s", i, s, want)
			}
		}
		for i, e := range b.point("a") {
			if want := []string{"good", "stale"}[i%2]; e.kwargs["q"] != want {
				t.Fatalf("event %d is %v, want %s", i, e.kwargs["q"], want)
			}
		}
	})
}

func TestAWindowGivesMeanAndRange(t *testing.T) {
	t.Parallel()
	drv := newScript(float("t"))
	cfg := hub.DeviceConfig{Point: map[string]hub.PointConfig{"t": {Scale: ptr(10.0), Deadband: 5, Window: hub.WindowConfig{Every: dur(10), Of: "all"}}}}
	run(t, []hub.Device{device("dev", drv, cfg)}, func(b *bench) {
		for _, window := range [][]float64{{1, 2, 6}, {3, 3, 3}, {3, 3, 3}, {0, 3, 6}} {
			for _, v := range window {
				drv.send(good("t", v))
			}
			b.pass(11 * time.Second)
		}
		var got [][3]any
		for _, e := range b.point("t") {
			got = append(got, [3]any{e.kwargs["min"], e.value, e.kwargs["max"]})
		}
		// The third is no news; the last is for its range.
		if d := cmp.Diff([][3]any{{10.0, 30.0, 60.0}, {30.0, 30.0, 30.0}, {0.0, 30.0, 60.0}}, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}
