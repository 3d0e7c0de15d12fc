package hub_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/hub"
	"gantry/internal/lane"
	"gantry/wamp"
)

// sharing is a driver that shares its wire.
type sharing struct{ *polledScript }

func (*sharing) Wire() string { return "/dev/ttyUSB0" }

// wire is a line that one request at a time can use.
type wire struct{ lane lane.Lane }

// use has the wire for the time given.
func (w *wire) use(ctx context.Context, p lane.Priority, long time.Duration) error {
	if err := w.lane.Enter(ctx, p); err != nil {
		return err
	}
	defer w.lane.Leave()
	select {
	case <-time.After(long):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unit is a device on a wire that takes the time given for an answer; dead is how
// long the wire is taken in vain.
func (w *wire) unit(long, dead time.Duration) (*sharing, *cell[int]) {
	polls := &cell[int]{}
	drv := newScript(writable("a", drivers.Float))
	drv.run = func(ctx context.Context, link drivers.Link) error {
		if dead > 0 {
			if err := w.use(ctx, lane.Poll, dead); err != nil {
				return nil
			}
			return drivers.ErrTimeout
		}
		link.Up()
		<-ctx.Done()
		return nil
	}
	read := func(ctx context.Context, _ []string) ([]drivers.Reading, error) {
		if err := w.use(ctx, lane.Of(ctx, lane.Poll), long); err != nil {
			return nil, err
		}
		polls.store(polls.load() + 1)
		return []drivers.Reading{good("a", 1.0)}, nil
	}
	drv.write = func(ctx context.Context, _ string, v drivers.Value) (drivers.Value, error) {
		return v, w.use(ctx, lane.Of(ctx, lane.Poll), long)
	}
	return &sharing{drv.polled(read)}, polls
}

// TestUnitsOnOneWire has 32 units on a wire that is busy for 76 % of the time, one
// of them dead and one slow: the dead one is parked, the others keep their period.
func TestUnitsOnOneWire(t *testing.T) {
	t.Parallel()
	w := &wire{}
	var devices []hub.Device
	var polls []*cell[int]
	cfg := hub.DeviceConfig{Every: ptr(dur(time.Second)), Timeout: dur(2 * time.Second)}
	for i := range 32 {
		long, dead := 20*time.Millisecond, time.Duration(0)
		switch i {
		case 7:
			dead = 300 * time.Millisecond
		case 8:
			long = 160 * time.Millisecond
		}
		unit, n := w.unit(long, dead)
		polls = append(polls, n)
		devices = append(devices, device(fmt.Sprintf("unit%d", i), unit, cfg))
	}
	run(t, devices, func(b *bench) {
		b.pass(10 * time.Second) // three attempts, then it is parked
		link := b.sess.on(hub.LinkTopic("barn", "unit7"))
		if last := link[len(link)-1]; last.value != "parked" {
			t.Errorf("the dead unit is %v", last)
		}
		before := make([]int, len(polls))
		for i := range polls {
			before[i] = polls[i].load()
		}
		b.pass(200 * time.Second)
		for i := range polls {
			n := polls[i].load() - before[i]
			switch {
			case i == 7 && n != 0:
				t.Errorf("the dead unit answered %d times", n)
			case i != 7 && (n < 199 || n > 201):
				t.Errorf("unit %d was read %d times in 200 periods", i, n)
			}
		}
	})
}

// TestCommandsOvertakeThePollsOfTheWire writes, writes and reads back, and gets,
// while the polls of 31 units wait, that of the same device among them.
func TestCommandsOvertakeThePollsOfTheWire(t *testing.T) {
	t.Parallel()
	verified := hub.PointConfig{Verify: dur(time.Second)}
	t.Run("set", func(t *testing.T) { overtake(t, hub.PointConfig{}, "set", wamp.List{1.0}, 1) })
	t.Run("set, verified", func(t *testing.T) { overtake(t, verified, "set", wamp.List{1.0}, 2) })
	t.Run("get", func(t *testing.T) { overtake(t, hub.PointConfig{}, "get", nil, 1) })
}

// overtake makes 300 calls that have to use the wire as often as said.
func overtake(t *testing.T, point hub.PointConfig, verb string, args wamp.List, uses time.Duration) {
	t.Parallel()
	const once = 30 * time.Millisecond
	w := &wire{}
	var devices []hub.Device
	for i := range 32 {
		unit, _ := w.unit(once, 0)
		devices = append(devices, device(fmt.Sprintf("unit%d", i), unit, hub.DeviceConfig{
			Every: ptr(dur(50 * time.Millisecond)), Point: map[string]hub.PointConfig{"a": point}}))
	}
	run(t, devices, func(b *bench) {
		b.pass(5 * time.Second)
		var took []time.Duration
		for i := range 300 {
			b.pass(time.Duration(7+i%13) * time.Millisecond)
			began := time.Now()
			if _, _, err := b.call(wamp.URI(fmt.Sprintf("gantry.barn.%s.unit%d.a", verb, i%32)), args, nil); err != nil {
				t.Fatal(err)
			}
			took = append(took, time.Since(began)-uses*once)
		}
		slices.Sort(took)
		t.Logf("wait for the wire: median %v, p99 %v, worst %v; one request takes %v", took[150], took[297], took[299], once)
		if worst := took[299]; worst > uses*once {
			t.Errorf("waited %v: longer than the requests under way", worst)
		}
	})
}
