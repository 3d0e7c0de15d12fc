package hub_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"gantry/drivers"
	"gantry/drivers/hub"
)

// step is a reading at a time after the start of the test.
type step struct {
	at time.Duration
	r  drivers.Reading
}

func val(v any) drivers.Reading { return drivers.Reading{Point: "p", Value: v} }

func badly(q drivers.Quality, why string) drivers.Reading {
	return drivers.Reading{Point: "p", Quality: q, Why: why}
}

func TestWhatIsPublished(t *testing.T) {
	t.Parallel()
	sec := func(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
	dur := func(n float64) drivers.Duration { return drivers.Duration(sec(n)) }
	tests := []struct {
		name  string
		typ   drivers.Type
		cfg   hub.PointConfig
		steps []step
		until time.Duration
		want  []string // time in seconds, value, quality, reason
	}{
		{"without deadband or max_silence everything is published", drivers.Float, hub.PointConfig{},
			[]step{{sec(1), val(1.0)}, {sec(2), val(1.0)}, {sec(3), val(1.0)}}, sec(4),
			[]string{"1 1 good ", "2 1 good ", "3 1 good "}},
		{"a change below the deadband is suppressed, drift is not", drivers.Float, hub.PointConfig{Deadband: 0.5},
			[]step{{sec(1), val(1.0)}, {sec(2), val(1.4)}, {sec(3), val(0.6)}, {sec(4), val(1.45)}, {sec(5), val(1.6)}, {sec(6), val(1.2)}}, sec(7),
			[]string{"1 1 good ", "5 1.6 good "}},
		{"a change of exactly the deadband passes", drivers.Float, hub.PointConfig{Deadband: 0.02},
			[]step{{sec(1), val(20.0)}, {sec(2), val(20.02)}, {sec(3), val(20.03)}}, sec(4),
			[]string{"1 20 good ", "2 20.02 good "}},
		{"the deadband is in scaled units", drivers.Int, hub.PointConfig{Scale: ptr(0.1), Deadband: 1},
			[]step{{sec(1), val(int64(100))}, {sec(2), val(int64(105))}, {sec(3), val(int64(110))}}, sec(4),
			[]string{"1 10 good ", "3 11 good "}},
		{"integers have a deadband too", drivers.Int, hub.PointConfig{Deadband: 2},
			[]step{{sec(1), val(int64(5))}, {sec(2), val(int64(6))}, {sec(3), val(int64(7))}}, sec(4),
			[]string{"1 5 good ", "3 7 good "}},
		{"unchanged values are repeated after max_silence, by time alone", drivers.Float,
			hub.PointConfig{MaxSilence: dur(10), StaleAfter: ptr(dur(0))},
			[]step{{sec(1), val(1.0)}, {sec(2), val(1.0)}, {sec(3), val(1.0)}}, sec(25),
			[]string{"1 1 good ", "11 1 good ", "21 1 good "}},
		{"the repetition carries the newest value, also one within the deadband", drivers.Float,
			hub.PointConfig{MaxSilence: dur(10), Deadband: 5, StaleAfter: ptr(dur(0))},
			[]step{{sec(1), val(1.0)}, {sec(9), val(3.0)}}, sec(12),
			[]string{"1 1 good ", "11 3 good "}},
		{"a change resets max_silence", drivers.Float,
			hub.PointConfig{MaxSilence: dur(10), StaleAfter: ptr(dur(0))},
			[]step{{sec(1), val(1.0)}, {sec(8), val(2.0)}}, sec(17),
			[]string{"1 1 good ", "8 2 good "}},
		{"unchanged texts are suppressed with max_silence", drivers.Text,
			hub.PointConfig{MaxSilence: dur(60)},
			[]step{{sec(1), val("on")}, {sec(2), val("on")}, {sec(3), val("off")}}, sec(4),
			[]string{"1 on good ", "3 off good "}},
		{"unchanged bytes are suppressed with max_silence", drivers.Bytes,
			hub.PointConfig{MaxSilence: dur(60)},
			[]step{{sec(1), val([]byte{1})}, {sec(2), val([]byte{1})}, {sec(3), val([]byte{2})}}, sec(4),
			[]string{"1 [1] good ", "3 [2] good "}},
		{"a change of quality or reason always passes", drivers.Float, hub.PointConfig{Deadband: 100},
			[]step{{sec(1), val(1.0)}, {sec(2), badly(drivers.Bad, "checksum")}, {sec(3), badly(drivers.Bad, "checksum")},
				{sec(4), badly(drivers.Bad, "timeout")}, {sec(5), val(1.0)},
				{sec(6), drivers.Reading{Point: "p", Value: 1.0, Quality: drivers.Uncertain, Why: "unstable"}}}, sec(7),
			[]string{"1 1 good ", "2 <nil> bad checksum", "4 <nil> bad timeout", "5 1 good ", "6 1 uncertain unstable"}},
		{"silence makes a value stale, once", drivers.Float, hub.PointConfig{StaleAfter: ptr(dur(5))},
			[]step{{sec(1), val(1.0)}, {sec(4), val(2.0)}}, sec(60),
			[]string{"1 1 good ", "4 2 good ", "9 2 stale silent"}},
		{"max_silence implies stale after three times that", drivers.Float, hub.PointConfig{MaxSilence: dur(2)},
			[]step{{sec(1), val(1.0)}}, sec(60),
			[]string{"1 1 good ", "3 1 good ", "5 1 good ", "7 1 stale silent"}},
		{"a value after silence is good again", drivers.Float, hub.PointConfig{StaleAfter: ptr(dur(5)), Deadband: 9},
			[]step{{sec(1), val(1.0)}, {sec(20), val(1.0)}}, sec(22),
			[]string{"1 1 good ", "6 1 stale silent", "20 1 good "}},
		{"a value that is no number is bad", drivers.Float, hub.PointConfig{},
			[]step{{sec(1), val(math.NaN())}, {sec(2), val(math.Inf(1))}, {sec(3), val("7")}, {sec(4), val(int64(7))}, {sec(5), val(float32(0.5))}}, sec(6),
			[]string{"1 <nil> bad not_a_number", "2 <nil> bad not_a_number", "3 <nil> bad type", "4 7 good ", "5 0.5 good "}},
		{"an integer that is none is bad", drivers.Int, hub.PointConfig{},
			[]step{{sec(1), val(1.5)}, {sec(2), val(2.0)}, {sec(3), val(uint8(3))}, {sec(4), val(1e300)}, {sec(5), val(uint64(math.MaxUint64))}, {sec(6), val(nil)}, {sec(7), val(float32(math.NaN()))}}, sec(8),
			[]string{"1 <nil> bad not_whole", "2 2 good ", "3 3 good ", "4 <nil> bad too_large", "5 <nil> bad too_large", "6 <nil> bad type", "7 <nil> bad not_a_number"}},
		{"scaling that overflows is bad", drivers.Float, hub.PointConfig{Scale: ptr(1e300)},
			[]step{{sec(1), val(1e300)}}, sec(2), []string{"1 <nil> bad not_a_number"}},
		{"a text that is no UTF-8 or too large is bad", drivers.Text, hub.PointConfig{},
			[]step{{sec(1), val("\xff")}, {sec(2), val(string(make([]byte, 100_000)))}, {sec(3), val("ä")}}, sec(4),
			[]string{"1 <nil> bad not_utf8", "2 <nil> bad too_large", "3 ä good "}},
		{"a quality that does not exist is bad", drivers.Float, hub.PointConfig{},
			[]step{{sec(1), drivers.Reading{Point: "p", Value: 1.0, Quality: 99}}}, sec(2), []string{"1 <nil> bad quality"}},
		{"a bounce is not published, a change is, on time and as of when it came", drivers.Bool, hub.PointConfig{Debounce: dur(0.05)},
			[]step{{sec(1), val(false)}, {sec(2), val(true)}, {sec(2.04), val(false)}, {sec(3), val(true)}}, sec(4),
			[]string{"1 false good ", "2.04 false good ", "3.05 true good "}},
		{"a window is published at its end, without another reading", drivers.Float, hub.PointConfig{Scale: ptr(10.0), Window: hub.WindowConfig{Every: dur(10), Of: "mean"}},
			[]step{{sec(1), val(1.0)}, {sec(2), val(2.0)}, {sec(3), val(6.0)}, {sec(14), val(4.0)}}, sec(30),
			[]string{"11 30 good ", "24 40 good "}},
		{"a fault goes past the filters", drivers.Float, hub.PointConfig{Window: hub.WindowConfig{Every: dur(10), Of: "max"}, Throttle: dur(100)},
			[]step{{sec(1), val(1.0)}, {sec(2), badly(drivers.Bad, "checksum")}}, sec(30), []string{"2 <nil> bad checksum"}},
		{"filters come before the deadband", drivers.Float, hub.PointConfig{Median: 3, Deadband: 1},
			[]step{{sec(1), val(1.0)}, {sec(2), val(1.0)}, {sec(3), val(500.0)}, {sec(4), val(1.0)}, {sec(5), val(3.0)}, {sec(6), val(3.0)}}, sec(9),
			[]string{"1 1 good ", "5 3 good "}},
		{"a point whose filters hold its values is not silent", drivers.Float, hub.PointConfig{Throttle: dur(30), StaleAfter: ptr(dur(8))},
			[]step{{sec(1), val(1.0)}, {sec(7), val(2.0)}, {sec(13), val(3.0)}, {sec(19), val(4.0)}}, sec(40),
			[]string{"1 1 good ", "27 1 stale silent"}},
		{"what is held back ends with silence", drivers.Bool, hub.PointConfig{Debounce: dur(10), StaleAfter: ptr(dur(5))},
			[]step{{sec(1), val(true)}, {sec(2), val(false)}}, sec(40),
			[]string{"1 true good ", "7 true stale silent"}},
		{"values have names", drivers.Int, hub.PointConfig{Access: "r", Mask: 0x6, Map: map[string]string{"0": "off", "1": "heat"}},
			[]step{{sec(1), val(int64(9))}, {sec(2), val(int64(2))}, {sec(3), val(int64(6))}}, sec(4),
			[]string{"1 off good ", "2 heat good ", "3 <nil> bad unmapped"}},
		{"a bit is a boolean", drivers.Int, hub.PointConfig{Access: "r", Mask: 0x4},
			[]step{{sec(1), val(int64(9))}, {sec(2), val(int64(-1))}}, sec(4), []string{"1 false good ", "2 true good "}},
		{"measured values are corrected by a table", drivers.Float, hub.PointConfig{Calibrate: [][]float64{{0, 0.5}, {100, 99}}},
			[]step{{sec(1), val(0.0)}, {sec(2), val(100.0)}}, sec(4), []string{"1 0.5 good ", "2 99 good "}},
		{"booleans are booleans", drivers.Bool, hub.PointConfig{},
			[]step{{sec(1), val(true)}, {sec(2), val(int64(1))}}, sec(3), []string{"1 true good ", "2 <nil> bad type"}},
		{"a point that may only be written says nothing", drivers.Bool, hub.PointConfig{Access: "w"},
			[]step{{sec(1), val(true)}}, sec(2), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			drv := newScript(writable("p", tt.typ))
			cfg := hub.DeviceConfig{Point: map[string]hub.PointConfig{"p": tt.cfg}}
			run(t, []hub.Device{device("dev", drv, cfg)}, func(b *bench) {
				began := time.Now()
				for _, s := range tt.steps {
					b.pass(s.at - time.Since(began))
					drv.send(s.r)
				}
				b.pass(tt.until - time.Since(began))
				var got []string
				for _, e := range b.point("p") {
					why, _ := e.kwargs["why"].(string)
					got = append(got, fmt.Sprintf("%g %v %v %s", e.at.Sub(began).Seconds(), e.value, e.kwargs["q"], why))
				}
				if d := cmp.Diff(tt.want, got); d != "" {
					t.Errorf("events (-want +got):\n%s", d)
				}
			})
		})
	}
}

func TestDegradedUntilNothingWasWrongForAWhile(t *testing.T) {
	t.Parallel()
	drv := newScript(float("a"))
	var link drivers.Link
	drv.run = func(ctx context.Context, l drivers.Link) error {
		link = l
		l.Up()
		<-ctx.Done()
		return nil
	}
	run(t, []hub.Device{device("dev", drv, hub.DeviceConfig{})}, func(b *bench) {
		for range 100 {
			link.Garbage("checksum", []byte("\x00\xffgarbage garbage garbage garbage garbage garbage garbage garbage"))
			link.Emit(good("a", 1.0))
		}
		synctest.Wait()
		if d := cmp.Diff([]string{"offline", "online", "degraded"}, b.states()); d != "" {
			t.Errorf("states (-want +got):\n%s", d)
		}
		if b.reason() != "garbage" {
			t.Errorf("reason = %q", b.reason())
		}
		if c := b.hub.Devices()[0].Counters; c.Garbage != 100 || c.Readings != 100 || c.Published != 103 {
			t.Errorf("counters = %+v", c)
		}
		b.pass(9 * time.Second)
		if n := len(b.states()); n != 3 {
			t.Errorf("recovered early: %v", b.states())
		}
		b.pass(3 * time.Second)
		if s := b.states(); s[len(s)-1] != "online" {
			t.Errorf("states = %v", s)
		}
		// A point that stays bad keeps it degraded.
		link.Emit(drivers.Reading{Point: "a", Quality: drivers.Bad, Why: "crc"})
		b.pass(time.Minute)
		if s := b.states(); s[len(s)-1] != "degraded" || len(s) != 5 {
			t.Errorf("states = %v", s)
		}
		link.Emit(good("a", 1.0))
		b.pass(11 * time.Second)
		if s := b.states(); s[len(s)-1] != "online" {
			t.Errorf("states = %v", s)
		}
		// What the device does not have at all is no trouble.
		link.Emit(drivers.Reading{Point: "a", Quality: drivers.Bad, Why: drivers.WhyUnsupported})
		b.pass(time.Minute)
		if s := b.states(); s[len(s)-1] != "online" {
			t.Errorf("states = %v", s)
		}
		link.Emit(good("nobody", 1.0))
		b.pass(time.Second)
		if s := b.states(); s[len(s)-1] != "degraded" || b.reason() != "unknown_point" {
			t.Errorf("states = %v", s)
		}
		b.pass(11 * time.Second)
		if s := b.states(); s[len(s)-1] != "online" {
			t.Errorf("an unsupported point keeps it degraded: %v", s)
		}
	})
}

func TestPolling(t *testing.T) {
	t.Parallel()
	var fail cell[error]
	var log cell[[]string]
	drv := newScript(float("a"), float("b"), float("slow"), float("unpolled")).polled(func(_ context.Context, ids []string) ([]drivers.Reading, error) {
		log.store(append(log.load(), fmt.Sprint(ids)))
		if err := fail.load(); err != nil {
			return nil, err
		}
		var out []drivers.Reading
		for _, id := range ids {
			out = append(out, good(id, 1.0))
		}
		return out, nil
	})
	cfg := hub.DeviceConfig{
		Every: ptr(drivers.Duration(time.Second)),
		Point: map[string]hub.PointConfig{"slow": {Every: ptr(drivers.Duration(4 * time.Second))}, "unpolled": {Every: ptr(drivers.Duration(0))}},
	}
	run(t, []hub.Device{device("dev", drv, cfg)}, func(b *bench) {
		b.pass(4500 * time.Millisecond)
		n := map[string]int{}
		for _, ids := range log.load() {
			n[ids]++
		}
		if d := cmp.Diff(map[string]int{"[a b]": 5, "[slow]": 2}, n); d != "" {
			t.Errorf("polls (-want +got):\n%s", d)
		}
		if len(b.point("a")) != 5 || len(b.point("unpolled")) != 0 {
			t.Errorf("a has %d events, unpolled %d", len(b.point("a")), len(b.point("unpolled")))
		}
		fail.store(fmt.Errorf("register 7: %w", drivers.ErrTimeout))
		b.pass(time.Second)
		all := b.point("a")
		if last := all[len(all)-1]; last.value != nil || last.kwargs["q"] != "bad" || last.kwargs["why"] != "timeout" {
			t.Errorf("after a failed poll: %+v", last)
		}
		if s := b.states(); s[len(s)-1] != "degraded" || b.reason() != "timeout" {
			t.Errorf("states = %v", s)
		}
		fail.store(nil)
		b.pass(20 * time.Second)
		if s := b.states(); s[len(s)-1] != "online" {
			t.Errorf("states = %v", s)
		}
	})
}

// TestPollsKeepTheirPeriod throws real dice: every interval is the one asked for,
// within 2 %, and devices do not poll in step.
func TestPollsKeepTheirPeriod(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var devices []hub.Device
		var at [10]cell[[]time.Time]
		for i := range at {
			drv := newScript(float("a")).polled(func(context.Context, []string) ([]drivers.Reading, error) {
				at[i].store(append(at[i].load(), time.Now()))
				time.Sleep(3 * time.Millisecond)
				return nil, nil
			})
			devices = append(devices, device(fmt.Sprintf("dev%d", i), drv, hub.DeviceConfig{Every: ptr(dur(200 * time.Millisecond))}))
		}
		deps := deps()
		deps.Random = rand.Float64
		h, err := hub.New(hub.Config{Gateway: "barn", Epoch: 7}, devices, newSession(), deps, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- h.Run(ctx) }()
		time.Sleep(time.Minute)
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		first := map[time.Time]bool{}
		for i := range at {
			all := at[i].load()
			first[all[0]] = true
			if n := len(all); n < 299 || n > 301 {
				t.Errorf("device %d: %d polls in 300 periods", i, n)
			}
			for j := 1; j < len(all); j++ {
				if gap := all[j].Sub(all[j-1]); gap < 196*time.Millisecond || gap > 204*time.Millisecond {
					t.Fatalf("device %d: an interval of %v", i, gap)
				}
			}
		}
		if len(first) < 5 {
			t.Errorf("10 devices start at %d moments", len(first))
		}
	})
}

func TestSlowPollsAreLeftOutNotMadeUpFor(t *testing.T) {
	t.Parallel()
	var polls atomic.Int64
	drv := newScript(float("a")).polled(func(ctx context.Context, _ []string) ([]drivers.Reading, error) {
		polls.Add(1)
		select {
		case <-time.After(2500 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return []drivers.Reading{good("a", 1.0)}, nil
	})
	run(t, []hub.Device{device("dev", drv, hub.DeviceConfig{Every: ptr(drivers.Duration(time.Second))})}, func(b *bench) {
		b.pass(30 * time.Second)
		if n := polls.Load(); n != 10 && n != 11 {
			t.Errorf("polls in 30 s = %d, want one every 3 s", n)
		}
	})
}

func TestPollThatIgnoresItsDeadlineParksTheDeviceOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var reads atomic.Int64
		drv := newScript(float("a")).polled(func(context.Context, []string) ([]drivers.Reading, error) {
			reads.Add(1)
			<-release
			return []drivers.Reading{good("a", 1.0)}, nil
		})
		b := start(t, newSession(), []hub.Device{device("dev", drv, hub.DeviceConfig{Timeout: drivers.Duration(time.Second)})})
		b.pass(time.Minute)
		if s := b.states(); s[len(s)-1] != "parked" || b.reason() != "stuck" {
			t.Errorf("states = %v, reason %q", s, b.reason())
		}
		if n := reads.Load(); n != 1 {
			t.Errorf("reads = %d: a second request was made beside the first", n)
		}
		close(release)
		b.pass(time.Minute)
		if s := b.states(); s[len(s)-1] != "online" {
			t.Errorf("after it returned: %v", s)
		}
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDriverThatCannotBePolledAfterAll(t *testing.T) {
	t.Parallel()
	reads := 0
	drv := newScript(float("a")).polled(func(context.Context, []string) ([]drivers.Reading, error) {
		reads++
		return nil, errors.ErrUnsupported
	})
	run(t, []hub.Device{device("dev", drv, hub.DeviceConfig{})}, func(b *bench) {
		b.pass(time.Second)
		drv.send(good("a", 3.0))
		b.pass(10 * time.Minute)
		if reads != 1 || len(b.point("a")) != 1 {
			t.Errorf("reads = %d, events = %v", reads, b.point("a"))
		}
		v, kwargs, err := b.call("gantry.barn.get.dev.a", nil, nil)
		if err != nil || v != 3.0 || kwargs["cached"] != true {
			t.Errorf("get = %v %v %v", v, kwargs, err)
		}
	})
}

func TestTheDriversScaleHoldsUntilTheConfigurationHasOne(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		point drivers.Point
		cfg   hub.PointConfig
		want  any
	}{
		{"none", drivers.Point{}, hub.PointConfig{}, int64(2350)},
		{"the driver's", drivers.Point{Scale: 0.1, Offset: -40}, hub.PointConfig{}, 195.0},
		{"the driver's offset alone", drivers.Point{Offset: -40}, hub.PointConfig{}, 2310.0},
		{"the configuration's", drivers.Point{Scale: 0.1, Offset: -40}, hub.PointConfig{Scale: ptr(0.01)}, 23.5},
		{"the configuration's, none", drivers.Point{Scale: 0.1}, hub.PointConfig{Scale: ptr(1.0)}, int64(2350)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.point.ID, tt.point.Type, tt.point.Readable = "p", drivers.Int, true
			drv := newScript(tt.point)
			cfg := hub.DeviceConfig{Point: map[string]hub.PointConfig{"p": tt.cfg}}
			run(t, []hub.Device{device("dev", drv, cfg)}, func(b *bench) {
				drv.send(val(int64(2350)))
				b.pass(time.Second)
				if e := b.point("p"); len(e) != 1 || e[0].value != tt.want {
					t.Errorf("published %v, want %v", e, tt.want)
				}
			})
		})
	}
}
