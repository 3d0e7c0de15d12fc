package shapes_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gantry/bridge"
	"gantry/bridge/shapes"
	"gantry/drivers"
	"gantry/drivers/drivertest"
)

// announced is a device of Home Assistant's discovery that runs, with its host.
type announced struct {
	t *testing.T
	*shapes.Host
	driver drivers.Driver
	link   *drivertest.Link
	seen   int // readings that have been looked at
}

// withEntities runs f in a bubble with the device "box" that entities make, each by the
// kind of entity and its message without the device.
func withEntities(t *testing.T, f func(x *announced), entities ...[2]string) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, err := shapes.New(shapes.Config{Broker: "house", Gateway: "gw", Shapes: []string{bridge.ShapeHomeAssistant}}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		x := &announced{t: t, Host: h, link: &drivertest.Link{}}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		list := &found{list: map[string]drivers.Candidate{}}
		wg.Go(func() { _ = h.Run(ctx, list) })
		h.Connected(&carrier{})
		for i, e := range entities {
			x.announce(i, e)
		}
		time.Sleep(3 * time.Second) // of the bubble's
		list.mu.Lock()
		cand, ok := list.list["box"]
		list.mu.Unlock()
		if !ok {
			t.Fatalf("no device; %+v", h.Stats())
		}
		if x.driver, err = cand.New(drivers.Env{}); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for ctx.Err() == nil { // as the hub does
				_ = x.driver.Run(ctx, x.link)
				select {
				case <-time.After(100 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
		synctest.Wait()
		f(x)
		cancel()
		wg.Wait()
	})
}

func (x *announced) announce(i int, e [2]string) {
	x.Receive(bridge.Message{
		Topic: fmt.Sprintf("homeassistant/%s/e%d/config", e[0], i), Retained: true,
		Payload: []byte(fmt.Sprintf(`{"uniq_id": "e%d", "dev": {"ids": ["box"], "name": "Box"}, %s}`, i, e[1])),
	})
}

func (x *announced) says(topic, payload string) {
	x.Receive(bridge.Message{Topic: topic, Payload: []byte(payload)})
}

// want compares the readings since the last time: "point value", "point bad why" or
// "point value (why)".
func (x *announced) want(what string, want ...string) {
	x.t.Helper()
	time.Sleep(200 * time.Millisecond) // of the bubble's
	synctest.Wait()
	all := x.link.Readings()
	var got []string
	for _, r := range all[x.seen:] {
		switch r.Quality {
		case drivers.Bad:
			got = append(got, r.Point+" bad "+r.Why)
		case drivers.Uncertain:
			got = append(got, fmt.Sprintf("%s %v (%s)", r.Point, r.Value, r.Why))
		default:
			got = append(got, fmt.Sprintf("%s %v", r.Point, r.Value))
		}
	}
	x.seen = len(all)
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		x.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestWhatIsNotReportedExpires(t *testing.T) {
	withEntities(t, func(x *announced) {
		x.says("t", "21.5")
		x.says("m", "ON")
		x.want("reports", "temp 21.5", "moving true")
		time.Sleep(30 * time.Second)
		x.says("t", "22")
		x.want("in time", "temp 22")
		time.Sleep(29 * time.Second)
		x.want("one has expired", "moving bad expired")
		x.announce(0, [2]string{"sensor", `"name": "temp", "stat_t": "t", "unit_of_meas": "°C", "exp_aft": 60`}) // again
		time.Sleep(31 * time.Second)
		x.want("the other one", "temp bad expired")
		time.Sleep(time.Hour)
		x.want("once")
		x.says("t", "20")
		x.want("it is back", "temp 20")
	}, [2]string{"sensor", `"name": "temp", "stat_t": "t", "unit_of_meas": "°C", "exp_aft": 60`},
		[2]string{"binary_sensor", `"name": "moving", "stat_t": "m", "expire_after": 45`})
}

func TestWhatNobodyEndsIsOff(t *testing.T) {
	withEntities(t, func(x *announced) {
		x.says("m", "ON")
		x.want("on", "moving true")
		time.Sleep(4 * time.Second)
		x.says("m", "ON")
		x.want("again", "moving true")
		time.Sleep(4 * time.Second)
		x.want("the time begins anew")
		time.Sleep(time.Second)
		x.want("off", "moving false")
		x.says("m", "ON")
		x.says("m", "OFF")
		x.want("by itself", "moving true", "moving false")
		time.Sleep(time.Minute)
		x.want("nothing is left")
		x.Receive(bridge.Message{Topic: "m", Payload: []byte("ON"), Retained: true})
		x.want("kept", "moving true (retained)")
		time.Sleep(5 * time.Second)
		x.want("off", "moving false")
	}, [2]string{"binary_sensor", `"name": "moving", "stat_t": "m", "off_delay": 5`})
}

func TestEachEntityIsAvailableForItself(t *testing.T) {
	withEntities(t, func(x *announced) {
		x.says("all/a", "online")
		x.says("any/a", "online")
		x.says("latest/a", "online")
		for _, topic := range []string{"all", "any", "latest"} {
			x.says(topic, "1")
		}
		x.want("the first is not there, its value waits", "any 1", "latest 1")
		x.says("all/b", "online")
		x.want("now it is", "all 1")
		x.says("latest/b", "offline")
		x.want("the last word counts", "latest bad unavailable")
		x.says("latest", "2")
		x.want("nothing while it is away")
		x.says("latest/a", "nonsense")
		x.want("no word of either kind")
		x.says("latest/a", "online")
		x.want("what has come meanwhile", "latest 2")
		x.says("any/b", "offline")
		x.want("one is enough")
		x.says("any/a", "offline")
		x.want("none is", "any bad unavailable")
		x.says("any/b", "online")
		x.want("what was known before", "any 1 (earlier)")

		for _, topic := range []string{"all/a", "any/b", "latest/a", "latest/b"} {
			x.says(topic, "offline")
		}
		x.want("the device is offline, which says it all")
		if _, err := x.driver.(drivers.Writer).Write(context.Background(), "all", 1.0); !errors.Is(err, drivers.ErrOffline) {
			x.t.Errorf("set: %v", err)
		}
		x.says("all/a", "online")
		time.Sleep(time.Second)
		synctest.Wait()
		if n := x.link.Ups(); n != 2 {
			x.t.Errorf("%d times up", n)
		}
	}, [2]string{"number", `"name": "all", "stat_t": "all", "cmd_t": "all/set", "avty": [{"t": "all/a"}, {"t": "all/b"}], "avty_mode": "all"`},
		[2]string{"number", `"name": "any", "stat_t": "any", "cmd_t": "any/set", "avty": [{"t": "any/a"}, {"t": "any/b"}], "avty_mode": "any"`},
		[2]string{"number", `"name": "latest", "stat_t": "latest", "cmd_t": "latest/set", "avty": [{"t": "latest/a"}, {"t": "latest/b"}]`})
}

func TestCommandsForWhatIsNotAvailable(t *testing.T) {
	withEntities(t, func(x *announced) {
		x.says("there", "online")
		time.Sleep(time.Second)
		for point, want := range map[string]error{"away": drivers.ErrOffline, "here": context.DeadlineExceeded} { // which nobody confirms
			ctx, cancel := context.WithTimeout(x.t.Context(), time.Second)
			if _, err := x.driver.(drivers.Writer).Write(ctx, point, true); !errors.Is(err, want) {
				x.t.Errorf("%s: %v, want %v", point, err, want)
			}
			cancel()
		}
	}, [2]string{"switch", `"name": "here", "stat_t": "h", "cmd_t": "h/set", "avty_t": "there"`},
		[2]string{"switch", `"name": "away", "stat_t": "a", "cmd_t": "a/set", "avty_t": "gone"`})
}
