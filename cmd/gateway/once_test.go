package main

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gantry/store"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
)

// onceHub is a hub that keeps what comes from gateways.
const onceHub = `schema = 1
gateway = { name = "hq", hub = true }
mqtt.listen = ""
[[history]]
topic = "gantry..point.."
match = "wildcard"
`

// kept returns all events that the history of a hub has now, oldest first. More may
// come faster than they are read.
func kept(t *testing.T, s *client.Session) (all []event) {
	t.Helper()
	id, err := answerOf(s.Call(t.Context(), "wamp.subscription.lookup", wamp.CallOptions{}, wamp.Args("gantry..point..", wamp.Dict{"match": "wildcard"})))
	if err != nil {
		t.Fatal(err)
	}
	var last any
	now := time.Now().UTC().Format(time.RFC3339Nano)
	for {
		options := wamp.Dict{"until_time": now}
		if last != nil {
			options["after_publication"] = last
		}
		got, err := answerOf(s.Call(t.Context(), "wamp.subscription.get_events", wamp.CallOptions{}, wamp.Values(wamp.List{id}, options)))
		list, _ := got.(wamp.List)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			return all
		}
		for _, v := range list {
			d := v.(wamp.Dict)
			e := event{topic: d["details"].(wamp.Dict)["topic"].(string), value: d["args"].(wamp.List)[0]}
			all = append(all, e)
			last = d["publication"]
		}
	}
}

// TestNothingIsRoutedTwiceAfterARestart sends again, over a restart of the hub, what it
// has answered.
func TestNothingIsRoutedTwiceAfterARestart(t *testing.T) {
	t.Parallel()
	config, state := writeFiles(t, map[string]string{"gantry.toml": onceHub}), t.TempDir()
	send := func(p *program, from, to int64) {
		t.Helper()
		s := p.join()
		for n := from; n <= to; n++ {
			if err := s.Publish(t.Context(), "gantry.barn.point.meter.power", wamp.PublishOptions{
				Acknowledge: true, Once: &wamp.Once{Stream: "barn/1", Epoch: 3, Seq: uint64(n)},
			}, wamp.Args(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	p := startProgram(t, config, state)
	send(p, 1, 20)
	p.stop()
	p = startProgram(t, config, state)
	send(p, 10, 30)
	p.stop()
	p = startProgram(t, config, state)
	send(p, 1, 31)
	all := kept(t, p.join())
	for i, e := range all {
		if e.value != int64(i+1) {
			t.Errorf("event %d is %v", i+1, e.value)
		}
	}
	if len(all) != 31 {
		t.Errorf("%d events", len(all))
	}
	p.stop()
}

// TestTwoGatewaysAndAHubThatComesAndGoes restarts a hub, and then kills it, while two
// gateways send. Restarts repeat nothing and lose nothing; a kill repeats what was not
// answered at most.
func TestTwoGatewaysAndAHubThatComesAndGoes(t *testing.T) {
	t.Parallel()
	config, state := writeFiles(t, map[string]string{"gantry.toml": onceHub}), t.TempDir()
	hq := startProgram(t, config, state)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var publishers sync.WaitGroup
	defer publishers.Wait()
	defer stop()
	names := []string{"east", "west"}
	var gateways []*program
	sent := make([]int64, len(names))
	for i, name := range names {
		g := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": fmt.Sprintf(
			"schema = 1\ngateway.name = %q\nmqtt.listen = \"\"\n[uplink.hq]\nurl = \"rs+unix://%s\"\nforward = [\"point\"]\nno_live = true\n",
			name, filepath.Join(state, "gantry.sock"))}), t.TempDir())
		gateways = append(gateways, g)
		s := g.join()
		publishers.Go(func() {
			for pace := time.NewTicker(10 * time.Millisecond); ctx.Err() == nil; sent[i]++ {
				if s.Publish(ctx, wamp.URI("gantry."+name+".point.meter.power"), wamp.PublishOptions{Acknowledge: true}, wamp.Args(sent[i]+1)) != nil {
					return
				}
				<-pace.C
			}
		})
	}
	// grown waits until the hub has got n more events of both.
	grown := func(n int) {
		t.Helper()
		seen := keep(t, hq.join(), "gantry.", wamp.SubscribeOptions{})
		for _, name := range names {
			count := 0
			seen.await(t, "events of "+name, func(e event) bool {
				if e.topic == "gantry."+name+".point.meter.power" {
					count++
				}
				return count == n
			})
		}
	}
	repeated := func(what string, most int) {
		t.Helper()
		seen, twice := map[event]bool{}, 0
		for _, e := range kept(t, hq.join()) {
			if seen[e] {
				twice++
			}
			seen[e] = true
		}
		t.Logf("%s: %d events, %d repeated", what, len(seen), twice)
		if twice > most {
			t.Errorf("%s: %d repeated, at most %d are allowed", what, twice, most)
		}
	}
	for range 2 {
		grown(50)
		hq.stop()
		hq = startProgram(t, config, state)
	}
	grown(50)
	repeated("after restarts", 0)
	hq.kill()
	hq = startProgram(t, config, state)
	grown(50)
	// Each gateway lets as many be on their way.
	const window = 256
	repeated("after a kill", len(names)*window)
	stop()
	publishers.Wait()
	for i, g := range gateways {
		drainUplink(t, g, names[i])
	}
	hq.stop()
}

// drainUplink waits until the uplink hq of a gateway has nothing left to send, and
// stops it.
func drainUplink(t *testing.T, p *program, name string) {
	t.Helper()
	s := p.join()
	for late := time.Now().Add(patience); ; pause(t, 20*time.Millisecond) {
		got, err := answerOf(s.Call(t.Context(), wamp.URI("gantry."+name+".sys.queue.status"), wamp.CallOptions{}, wamp.Args("hq")))
		if err != nil {
			t.Fatal(err)
		}
		if number(t, got.(wamp.Dict), "depth") == 0 {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("the queue does not drain: %v", got)
		}
	}
	p.stop()
}

// TestMarksAreSavedAtTheEnd has something published at the end, after the histories have
// been flushed.
func TestMarksAreSavedAtTheEnd(t *testing.T) {
	t.Parallel()
	st, err := store.Open(store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	box, err := st.Outbox("history", store.OutboxConfig{})
	if err != nil {
		t.Fatal(err)
	}
	table, err := st.Table("once", store.TableConfig{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = st.Run(ctx) })
	defer func() {
		cancel()
		running.Wait()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "gantry"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	l := &historyLog{}
	l.box.Store(box)
	if err := l.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := l.Append([]byte("late")); err != nil {
			t.Fatal(err)
		}
		key := onceMarkKey(router.Mark{Realm: "gantry", Key: "ann\x00barn"})
		k := &onceMarks{table: table, router: r, histories: []*historyLog{l},
			waiting: []store.Change{{Key: key, Value: onceMarkValue(router.Mark{Epoch: 1, Seq: 2}, 1)}}, behind: []uint64{l.Last()}}
		if err := k.finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(k.waiting) > 0 || l.committed() < k.behind[0] {
			t.Errorf("%d marks wait; the history is on disk up to %d of %v", len(k.waiting), l.committed(), k.behind)
		}
	}
}

func FuzzReadOnceMark(f *testing.F) {
	m := router.Mark{Realm: "gantry", Key: "ann\x00barn/1f", Epoch: 3, Seq: math.MaxUint64}
	f.Add(onceMarkKey(m), onceMarkValue(m, 300))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		m, turn, err := readOnceMark(key, value)
		if err != nil {
			return
		}
		if again, n, err := readOnceMark(onceMarkKey(m), onceMarkValue(m, turn)); err != nil || again != m || n != turn {
			t.Fatalf("%+v, %d becomes %+v, %d, %v", m, turn, again, n, err)
		}
	})
}
