package hub_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"gantry/drivers"
	"gantry/drivers/hub"
	"gantry/wamp"
)

// scout is a finder that reports what its test says, while it runs.
type scout struct {
	found cell[drivers.Found]
	lose  chan error // made inside the bubble
}

func (s *scout) Run(ctx context.Context, found drivers.Found) error {
	s.found.store(found)
	select {
	case err := <-s.lose:
		if err == nil {
			panic("scout")
		}
		return err
	case <-ctx.Done():
		return nil
	}
}

// board is a candidate whose driver is a script with these points.
func board(id, name string, points ...drivers.Point) drivers.Candidate {
	return drivers.Candidate{
		Kind: "node", ID: id, Name: name, Model: "Board", Description: "a board",
		New: func(drivers.Env) (drivers.Driver, error) { return newScript(points...), nil },
	}
}

// minutes is what a Decisions keeps, in memory.
type minutes struct {
	refuse   error
	accepted []hub.Acceptance
	ignored  []string
}

func (m *minutes) Accept(a hub.Acceptance) error {
	if m.refuse == nil {
		m.accepted = append(m.accepted, a)
	}
	return m.refuse
}

func (m *minutes) Forget(device string) error {
	m.accepted = slices.DeleteFunc(m.accepted, func(a hub.Acceptance) bool { return a.Device == device })
	return m.refuse
}

func (m *minutes) Ignore(keys []string) error {
	if m.refuse == nil {
		m.ignored = keys
	}
	return m.refuse
}

// arrivals is a hub with one source, in a bubble.
type arrivals struct {
	*bench
	scout *scout
	kept  *minutes
}

func runArrivals(t *testing.T, src hub.Source, devices []hub.Device, ignored []string, f func(a *arrivals)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := &arrivals{scout: &scout{lose: make(chan error)}, kept: &minutes{}}
		src.Name, src.Finder = "test", a.scout
		d := deps()
		d.Sources, d.Decisions, d.Ignored = []hub.Source{src}, a.kept, ignored
		a.bench = startWith(t, newSession(), devices, d)
		f(a)
		if err := a.stop(); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
}

func (a *arrivals) appear(c drivers.Candidate) error {
	err := a.scout.found.load().Appeared(a.t.Context(), c)
	synctest.Wait()
	return err
}

func (a *arrivals) vanish(id string) {
	a.scout.found.load().Vanished(a.t.Context(), "node", id)
	synctest.Wait()
}

func (a *arrivals) ask(verb, key string, kwargs wamp.Dict) error {
	_, _, err := a.call(hub.SysProcedure("barn", verb), wamp.List{key}, kwargs)
	synctest.Wait()
	return err
}

// listed returns "candidate state device" of everything that is listed.
func (a *arrivals) listed(all bool) []string {
	got, _, err := a.call(hub.SysProcedure("barn", "pending"), nil, wamp.Dict{"all": all})
	if err != nil {
		a.t.Fatal(err)
	}
	var list []string
	for _, v := range got.(wamp.List) {
		d := v.(wamp.Dict)
		line := fmt.Sprintf("%v %v", d["candidate"], d["state"])
		if name := d["device"]; name != nil {
			line += fmt.Sprintf(" %v", name)
		}
		list = append(list, line)
	}
	return list
}

// devices returns "name state" of the hub's devices.
func (a *arrivals) devices() []string {
	var list []string
	for _, s := range a.hub.Devices() {
		list = append(list, s.Device+" "+s.State.String())
	}
	return list
}

func (a *arrivals) want(what string, got []string, want ...string) {
	a.t.Helper()
	if !slices.Equal(got, want) {
		a.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestAFoundDeviceWaitsUntilSomebodyAcceptsIt(t *testing.T) {
	t.Parallel()
	runArrivals(t, hub.Source{}, nil, nil, func(a *arrivals) {
		if err := a.appear(board("1", "dev", float("t"), writable("led", drivers.Bool))); err != nil {
			t.Fatal(err)
		}
		a.want("pending", a.listed(false), "node:1 pending")
		a.want("devices", a.devices())
		if events := a.sess.on(hub.ArrivalTopic("barn", "appeared")); len(events) != 1 || events[0].value.(wamp.Dict)["name"] != "dev" {
			t.Errorf("events: %v", events)
		}
		if err := a.ask("accept", "node:1", wamp.Dict{"name": "stable"}); err != nil {
			t.Fatal(err)
		}
		a.want("pending", a.listed(false))
		a.want("all", a.listed(true), "node:1 accepted stable")
		a.want("devices", a.devices(), "stable online")
		if want := (hub.Acceptance{Device: "stable", Kind: "node", ID: "1", About: "Board: a board"}); len(a.kept.accepted) != 1 || a.kept.accepted[0] != want {
			t.Errorf("kept %+v", a.kept.accepted)
		}
		if !slices.Contains(a.sess.procedures(), hub.SetProcedure("barn", "stable", "led")) {
			t.Error("its procedures are not registered")
		}
		// The same again changes nothing; another description replaces it.
		if err := a.appear(board("1", "dev", float("t"), writable("led", drivers.Bool))); err != nil {
			t.Fatal(err)
		}
		if n := len(a.sess.on(hub.LinkTopic("barn", "stable"))); n != 2 {
			t.Errorf("%d states published, want offline and online", n)
		}
		if err := a.appear(board("1", "dev", float("humidity"))); err != nil {
			t.Fatal(err)
		}
		if p := a.sess.procedures(); slices.Contains(p, hub.SetProcedure("barn", "stable", "led")) || !slices.Contains(p, hub.GetProcedure("barn", "stable", "humidity")) {
			t.Errorf("procedures of a board with other points: %q", p)
		}
		a.vanish("1")
		a.want("devices when it has vanished", a.devices(), "stable offline")
		if err := a.appear(board("1", "dev", float("humidity"))); err != nil {
			t.Fatal(err)
		}
		a.want("devices when it is back", a.devices(), "stable online")
		if err := a.ask("forget", "node:1", nil); err != nil {
			t.Fatal(err)
		}
		a.want("devices when it is forgotten", a.devices())
		a.want("pending again", a.listed(false), "node:1 pending")
		if p := a.sess.procedures(); slices.ContainsFunc(p, func(u wamp.URI) bool { return u.Matches(wamp.MatchPrefix, "gantry.barn.get.stable") }) {
			t.Errorf("procedures left: %q", p)
		}
	})
}

func TestADeviceThatReturnsStaysWhileItIsAway(t *testing.T) {
	t.Parallel()
	for _, accept := range []hub.Accept{hub.AcceptNone, hub.AcceptAll} {
		runArrivals(t, hub.Source{Config: hub.SourceConfig{Accept: accept}}, nil, nil, func(a *arrivals) {
			c := board("1", "dev", float("t"))
			c.Returns = true
			if err := a.appear(c); err != nil {
				t.Fatal(err)
			}
			if accept == hub.AcceptNone {
				a.vanish("1")
				a.want("pending while it is away", a.listed(true))
				if err := errors.Join(a.appear(c), a.ask("accept", "node:1", nil)); err != nil {
					t.Fatal(err)
				}
			}
			a.vanish("1")
			a.want("all", a.listed(true), "node:1 accepted dev")
			a.want("devices", a.devices(), "dev online") // its driver says when it is not
			if err := a.appear(c); err != nil {
				t.Fatal(err)
			}
			if n := len(a.sess.on(hub.LinkTopic("barn", "dev"))); n != 2 {
				t.Errorf("%d states published, want offline and online", n)
			}
			a.vanish("1")
			verb := map[hub.Accept]string{hub.AcceptNone: "forget", hub.AcceptAll: "ignore"}[accept]
			if err := a.ask(verb, "node:1", nil); err != nil {
				t.Fatal(err)
			}
			a.want("devices", a.devices())
		})
	}
}

func TestADeviceOfAFileWaitsForItsCandidate(t *testing.T) {
	t.Parallel()
	cfg := hub.DeviceConfig{Driver: "node", Point: map[string]hub.PointConfig{"t": {Label: "air"}}}
	runArrivals(t, hub.Source{}, []hub.Device{{Name: "dev", Config: cfg, Found: "node:1"}}, nil, func(a *arrivals) {
		a.want("devices", a.devices(), "dev offline")
		if why := a.reason(); why != "not found yet" {
			t.Errorf("reason %q", why)
		}
		_, _, err := a.call(hub.SetProcedure("barn", "dev", "led"), wamp.List{true}, nil)
		details(t, err, wamp.ErrURIOffline)
		// A board without the point that the file names.
		if err := a.appear(board("1", "x", float("humidity"))); err != nil {
			t.Fatal(err)
		}
		a.want("devices", a.devices(), "dev offline")
		if why := a.reason(); why != "point.t: the driver has no such point; allowed: humidity" {
			t.Errorf("reason %q", why)
		}
		if err := a.appear(board("1", "x", float("t"))); err != nil {
			t.Fatal(err)
		}
		a.want("devices", a.devices(), "dev online")
		a.want("all", a.listed(true), "node:1 accepted dev")
	})
}

func TestASettingAcceptsEverything(t *testing.T) {
	t.Parallel()
	runArrivals(t, hub.Source{Config: hub.SourceConfig{Accept: hub.AcceptAll, Max: 3}}, nil, []string{"node:9"}, func(a *arrivals) {
		for _, id := range []string{"1", "2", "9"} {
			if err := a.appear(board(id, "dev", float("t"))); err != nil {
				t.Fatal(err)
			}
		}
		a.want("devices", a.devices(), "dev online", "dev_dffd66e5 online")
		a.want("all", a.listed(true), "node:1 accepted dev", "node:2 accepted dev_dffd66e5", "node:9 ignored")
		if err := a.appear(board("3", "other")); err == nil {
			t.Error("a fourth was taken")
		}
		if len(a.kept.accepted) != 0 {
			t.Errorf("kept %v", a.kept.accepted)
		}
		if err := a.ask("forget", "node:1", nil); !wamp.IsError(err, wamp.ErrURIInvalidArgument) {
			t.Errorf("forget = %v", err)
		}
		if err := a.ask("ignore", "node:1", nil); err != nil {
			t.Fatal(err)
		}
		a.want("devices", a.devices(), "dev_dffd66e5 online")
		a.want("ignored", a.kept.ignored, "node:1", "node:9")
		if err := a.ask("forget", "node:9", nil); err != nil {
			t.Fatal(err)
		}
		a.want("devices", a.devices(), "dev online", "dev_dffd66e5 online")
		a.vanish("9")
		a.want("devices", a.devices(), "dev_dffd66e5 online")
		// A name that nothing can have.
		if err := a.appear(board("4", "No Name")); err != nil {
			t.Fatal(err)
		}
		a.want("pending", a.listed(false), "node:4 pending")
	})
}

func TestDecisionsThatCannotBe(t *testing.T) {
	t.Parallel()
	busy := device("dev", newScript(), hub.DeviceConfig{})
	runArrivals(t, hub.Source{}, []hub.Device{busy}, nil, func(a *arrivals) {
		bad := board("2", "bad")
		bad.New = func(drivers.Env) (drivers.Driver, error) { panic("no") }
		for _, c := range []drivers.Candidate{board("1", "dev"), bad, board("3", "three")} {
			if err := a.appear(c); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.appear(board("a b", "x")); err == nil {
			t.Error("an identity with a space was taken")
		}
		a.kept.refuse = errors.New("write devices.d/three.toml: read-only file system")
		for _, q := range []struct {
			verb, key string
			kwargs    wamp.Dict
			want      wamp.URI
		}{
			{"accept", "node:7", nil, wamp.ErrURIInvalidArgument},
			{"accept", "node:1", nil, wamp.ErrURIInvalidArgument}, // the name is taken
			{"accept", "node:1", wamp.Dict{"name": "A"}, wamp.ErrURIInvalidArgument},
			{"accept", "node:1", wamp.Dict{"name": 1}, wamp.ErrURIInvalidArgument},
			{"accept", "node:1", wamp.Dict{"nom": "a"}, wamp.ErrURIInvalidArgument},
			{"accept", "node:2", nil, wamp.ErrURIBadConfig},
			{"accept", "node:3", nil, wamp.ErrURIBadConfig}, // cannot be kept
			{"ignore", "node:7", nil, wamp.ErrURIInvalidArgument},
			{"ignore", "node:3", nil, wamp.ErrURIBadConfig},
			{"forget", "node:3", nil, wamp.ErrURIInvalidArgument},
		} {
			if err := a.ask(q.verb, q.key, q.kwargs); !wamp.IsError(err, q.want) {
				t.Errorf("%s %s %v = %v, want %s", q.verb, q.key, q.kwargs, err, q.want)
			}
		}
		a.want("devices", a.devices(), "dev online")
		a.want("pending", a.listed(false), "node:1 pending", "node:2 pending", "node:3 pending")
	})
}

func TestASourceThatIsLostIsTriedAgain(t *testing.T) {
	t.Parallel()
	runArrivals(t, hub.Source{}, nil, nil, func(a *arrivals) {
		for _, err := range []error{errors.New("unplugged"), nil} {
			a.scout.found.store(nil)
			a.scout.lose <- err
			a.pass(time.Second)
			if a.scout.found.load() == nil {
				t.Fatalf("not run again after %v", err)
			}
		}
	})
}
