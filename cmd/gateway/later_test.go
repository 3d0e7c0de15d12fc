package main

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/client"
)

const (
	laterConfig = "schema = 1\ngateway.name = \"hq\"\nmqtt.listen = \"\"\n"
	lampSet     = wamp.URI("gantry.far.set.lamp.on")
	lampLater   = wamp.URI("gantry.far.later.lamp.set")
)

// lamp registers the target of the jobs, which does not answer while it is stuck.
func lamp(t *testing.T, p *program, called *atomic.Int64, stuck bool) {
	t.Helper()
	s := p.join()
	if _, err := s.Register(t.Context(), lampSet, wamp.RegisterOptions{}, func(ctx context.Context, _ *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
		called.Add(1)
		if stuck {
			<-ctx.Done()
		}
		return wamp.Args(true), nil
	}); err != nil {
		t.Fatal(err)
	}
}

func queueJob(t *testing.T, s *client.Session, kwargs wamp.Dict) string {
	t.Helper()
	id, err := answerOf(s.Call(t.Context(), lampLater, wamp.CallOptions{}, wamp.Values(wamp.List{"on", true}, kwargs)))
	if err != nil {
		t.Fatal(err)
	}
	return id.(string)
}

// awaitJob waits until a job is in a state.
func awaitJob(t *testing.T, s *client.Session, id, state string) {
	t.Helper()
	late := time.Now().Add(patience)
	for {
		got, err := answerOf(s.Call(t.Context(), jobProcedure("hq", "get"), wamp.CallOptions{}, wamp.Args(id)))
		if d, _ := got.(wamp.Dict); d["state"] == state {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("job is %v, %v; want %s", got, err, state)
		}
		// The procedures are registered a moment after the start.
		pause(t, 20*time.Millisecond)
	}
}

// pause lets a program of its own get on.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// TestQueuedCommandsSurviveKills kills the gateway at each step of a job's life.
func TestQueuedCommandsSurviveKills(t *testing.T) {
	t.Parallel()
	config := writeFiles(t, map[string]string{"gantry.toml": laterConfig})
	for _, c := range []struct {
		name   string
		kwargs wamp.Dict
		stuck  bool   // the gateway is killed while the lamp does not answer
		before string // the state at the kill
		after  string
		calls  int64
	}{
		{"while it is queued", wamp.Dict{"ttl_ms": int64(600_000)}, false, "queued", "done", 1},
		{"while it is sent", wamp.Dict{"ttl_ms": int64(600_000)}, true, "sent", "unknown", 1},
		{"while it is sent, again allowed", wamp.Dict{"ttl_ms": int64(600_000), "again": true}, true, "sent", "done", 2},
		{"when it is done", wamp.Dict{"ttl_ms": int64(600_000)}, false, "done", "done", 1},
		{"and it expires meanwhile", wamp.Dict{"ttl_ms": int64(1)}, false, "", "expired", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			state, called := t.TempDir(), new(atomic.Int64)
			p := startProgram(t, config, state)
			if c.stuck || c.before == "done" {
				lamp(t, p, called, c.stuck)
			}
			c.kwargs["key"] = "k"
			id := queueJob(t, p.join(), c.kwargs)
			if c.before != "" {
				awaitJob(t, p.join(), id, c.before)
			}
			// Marked as sent does not yet mean that the call is there.
			for late := time.Now().Add(patience); c.stuck && called.Load() == 0 && time.Now().Before(late); {
				pause(t, time.Millisecond)
			}
			p.kill()
			p = startProgram(t, config, state)
			if c.calls == 0 {
				awaitJob(t, p.join(), id, c.after)
			}
			lamp(t, p, called, false)
			awaitJob(t, p.join(), id, c.after)
			if again := queueJob(t, p.join(), c.kwargs); again != id {
				t.Errorf("the same key is another job: %s, %s", again, id)
			}
			p.stop()
			if n := called.Load(); n != c.calls {
				t.Errorf("called %d times, want %d", n, c.calls)
			}
		})
	}
}

// TestAHubKeepsCommandsForAGateway queues at a hub for a gateway that is away.
func TestAHubKeepsCommandsForAGateway(t *testing.T) {
	t.Parallel()
	hubState := t.TempDir()
	hq := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": laterConfig}), hubState)
	s := hq.join()
	seen := keep(t, s, "gantry.hq.job.", wamp.SubscribeOptions{})
	id := firstWord(hq.command("later", "--ttl", "1h", "gantry.far.set.lamp.on", "true"))
	far := startProgram(t, writeFiles(t, map[string]string{
		"gantry.toml":         "schema = 1\ngateway.name = \"far\"\nmqtt.listen = \"\"\n[uplink.hq]\nurl = \"rs+unix://" + hubState + "/gantry.sock\"\n",
		"devices.d/lamp.toml": "[device.lamp]\ndriver = \"sim\"\n[device.lamp.point.on]\nkind = \"relay\"\n",
	}), t.TempDir())
	for _, state := range []string{"sent", "done"} {
		seen.await(t, state, func(e event) bool { return e.value == state && e.topic == "gantry.hq.job."+id+".state" })
	}
	got, err := answerOf(far.join().Call(t.Context(), "gantry.far.get.lamp.on", wamp.CallOptions{}, wamp.Payload{}))
	if got != true || err != nil {
		t.Errorf("the lamp is %v, %v", got, err)
	}
	if shown := hq.command("jobs", "--gateway", "hq"); firstWord(shown) != "JOB" {
		t.Errorf("gantry jobs says %s", shown)
	}
	far.stop()
	hq.stop()
}

func firstWord(s string) string {
	for i, r := range s {
		if r == ' ' || r == '\n' {
			return s[:i]
		}
	}
	return s
}

// TestQueuedCommandsKeepTheirTermsOverAKill has one job replaced and one that is not due
// before a kill, and looks at their events after it.
func TestQueuedCommandsKeepTheirTermsOverAKill(t *testing.T) {
	t.Parallel()
	config, state, called := writeFiles(t, map[string]string{"gantry.toml": laterConfig}), t.TempDir(), new(atomic.Int64)
	const delay = int64(4000)
	p := startProgram(t, config, state)
	s := p.join()
	old := queueJob(t, s, wamp.Dict{"ttl_ms": int64(600_000), "delay_ms": int64(300_000), "key": "night"})
	now := queueJob(t, s, wamp.Dict{"ttl_ms": int64(600_000), "key": "night", "replace": true})
	later := queueJob(t, s, wamp.Dict{"ttl_ms": int64(600_000), "key": "morning", "delay_ms": delay})
	awaitJob(t, s, old, "replaced")
	p.kill()
	p = startProgram(t, config, state)
	s = p.join()
	awaitJob(t, s, old, "replaced")
	seen := keep(t, s, "gantry.hq.job.", wamp.SubscribeOptions{})
	lamp(t, p, called, false)
	for _, id := range []string{now, later} {
		for _, state := range []string{"sent", "done"} {
			seen.await(t, state, func(e event) bool { return e.value == state && e.topic == "gantry.hq.job."+id+".state" })
		}
	}
	got, err := answerOf(s.Call(t.Context(), jobProcedure("hq", "get"), wamp.CallOptions{}, wamp.Args(later)))
	d, _ := got.(wamp.Dict)
	created, _ := d["created"].(int64)
	changed, _ := d["changed"].(int64)
	if err != nil || changed-created < delay*1000 {
		t.Errorf("called after %d us, not before %d ms; %v", changed-created, delay, err)
	}
	p.stop()
	if n := called.Load(); n != 2 {
		t.Errorf("called %d times", n)
	}
}

// TestStatesOfJobsReachAHubThatWasAway has a gateway do a job of its own while its hub is
// away, and die before the hub is back.
func TestStatesOfJobsReachAHubThatWasAway(t *testing.T) {
	t.Parallel()
	hubState, state := t.TempDir(), t.TempDir()
	config := writeFiles(t, map[string]string{
		"gantry.toml":         "schema = 1\ngateway.name = \"far\"\nmqtt.listen = \"\"\n[uplink.hq]\nurl = \"rs+unix://" + hubState + "/gantry.sock\"\nforward = [\"job\"]\n",
		"devices.d/lamp.toml": "[device.lamp]\ndriver = \"sim\"\n[device.lamp.point.on]\nkind = \"relay\"\n",
	})
	far := startProgram(t, config, state)
	s := far.join()
	local := keep(t, s, "gantry.far.job.", wamp.SubscribeOptions{})
	id := queueJob(t, s, wamp.Dict{"ttl_ms": int64(600_000)})
	topic := "gantry.far.job." + id + ".state"
	local.await(t, "done", func(e event) bool { return e.topic == topic && e.value == "done" })
	for late := time.Now().Add(patience); ; pause(t, 20*time.Millisecond) {
		got, err := answerOf(s.Call(t.Context(), "gantry.far.sys.queue.status", wamp.CallOptions{}, wamp.Args("hq")))
		if err != nil {
			t.Fatal(err)
		}
		d, _ := got.(wamp.Dict)
		if number(t, d, "appended") >= 3 && number(t, d, "committed") == number(t, d, "appended") {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("not on disk: %v", d)
		}
	}
	far.kill()
	hq := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": laterConfig}), hubState)
	seen := keep(t, hq.join(), "gantry.far.job.", wamp.SubscribeOptions{})
	far = startProgram(t, config, state)
	seen.await(t, "done", func(e event) bool { return e.topic == topic && e.value == "done" })
	far.stop()
	var states []any
	for _, e := range seen.all() {
		if e.topic == topic {
			states = append(states, e.value)
		}
	}
	if want := []any{"queued", "sent", "done"}; !slices.Equal(states, want) {
		t.Errorf("%v, want %v", states, want)
	}
	hq.stop()
}
