package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/serialize"
)

// garrison are the good clients of a siege: a caller and its callee, a publisher
// and its subscriber, and newcomers by WAMP and MQTT. They note how long they wait.
// One more joins a gateway that is not attacked, to tell how long the machine, which
// may be busy with other things, makes everybody wait.
type garrison struct {
	s      *siege
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex // guards what follows
	waits  map[string][]time.Duration
	faults []string
}

// man starts the good clients.
func (s *siege) man() *garrison {
	ctx, cancel := context.WithCancel(s.t.Context())
	g := &garrison{s: s, cancel: cancel}
	g.fresh()
	s.t.Cleanup(g.dismiss)
	callee, caller, publisher, subscriber := s.p.join(), s.p.join(), s.p.join(), s.p.join()
	echo := func(_ context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
		return inv.Payload.Clone(), nil
	}
	if _, err := callee.Register(ctx, "fort.echo", wamp.RegisterOptions{}, echo); err != nil {
		s.t.Fatal(err)
	}
	beats := make(chan int64, 1024) // numbers of the events; more than arrive between two looks
	if _, err := subscriber.Subscribe(ctx, "fort.beat", wamp.SubscribeOptions{}, func(ev *wamp.Event) {
		var n int64
		if err := serialize.Arg(ev.Payload, 0, &n); err != nil {
			g.fault("event: " + err.Error())
		}
		select {
		case beats <- n:
		default:
			g.fault("the test is too slow for its own events")
		}
	}); err != nil {
		s.t.Fatal(err)
	}
	g.every(ctx, 5*time.Millisecond, "call", func(ctx context.Context) error {
		_, err := caller.Call(ctx, "fort.echo", wamp.CallOptions{}, wamp.Args("x"))
		return err
	})
	n := int64(0)
	g.every(ctx, 10*time.Millisecond, "event", func(ctx context.Context) error {
		n++
		if err := publisher.Publish(ctx, "fort.beat", wamp.PublishOptions{Acknowledge: true}, wamp.Args(n)); err != nil {
			return err
		}
		select {
		case got := <-beats:
			if got != n {
				return fmt.Errorf("event %d came in place of %d", got, n)
			}
			return nil
		case <-ctx.Done():
			return fmt.Errorf("event %d has not come: %w", n, ctx.Err())
		}
	})
	urls := []string{s.p.url, "rs://" + s.host}
	turn := 0
	g.every(ctx, 25*time.Millisecond, "join", func(ctx context.Context) error {
		turn++
		return joinOnce(ctx, urls[turn%2])
	})
	g.every(ctx, 25*time.Millisecond, quietJoin, func(ctx context.Context) error { return joinOnce(ctx, s.quiet.url) })
	g.every(ctx, 100*time.Millisecond, "mqtt connect", func(ctx context.Context) error {
		return mqttOnce(ctx, s.p.mqtt)
	})
	return g
}

// mqttOnce connects and disconnects. See joinOnce.
func mqttOnce(ctx context.Context, addr string) error {
	for {
		c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + addr).SetAutoReconnect(false).SetConnectTimeout(siegeWait()))
		err := settle(ctx, c.Connect())
		c.Disconnect(0)
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

// joinOnce joins and leaves. A connection that is refused is tried again, as every
// client does: the wait counts.
func joinOnce(ctx context.Context, url string) error {
	for {
		peer, err := dialRouter(ctx, url, "")
		if err == nil {
			var s *client.Session
			if s, err = client.Join(ctx, peer, client.SessionConfig{Realm: "gantry"}); err == nil {
				_ = s.Close()
				return nil
			}
			_ = peer.Close()
		}
		if ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
}

// every does something again and again and notes how long it takes.
func (g *garrison) every(ctx context.Context, pause time.Duration, what string, do func(ctx context.Context) error) {
	g.wg.Go(func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			began := time.Now()
			limited, cancel := context.WithTimeout(ctx, patience)
			err := do(limited)
			cancel()
			if ctx.Err() != nil {
				return
			}
			g.note(what, time.Since(began))
			if err != nil {
				g.fault(what + ": " + err.Error())
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
}

func (g *garrison) note(what string, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waits[what] = append(g.waits[what], wait)
}

func (g *garrison) fault(text string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.faults) < 10 {
		g.faults = append(g.faults, text)
	}
}

// fresh forgets what has been noted.
func (g *garrison) fresh() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waits, g.faults = map[string][]time.Duration{}, nil
}

// rounds waits until each good client has finished n more rounds.
func (g *garrison) rounds(t *testing.T, n int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); ; {
		g.mu.Lock()
		done := true
		for _, what := range garrisonDuties {
			done = done && len(g.waits[what]) >= n
		}
		g.mu.Unlock()
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("good clients stand still: %v", g.summary())
		}
	}
}

// quietJoin is the duty at the gateway that is not attacked.
const quietJoin = "quiet join"

var garrisonDuties = []string{"call", "event", "join", "mqtt connect", quietJoin}

// report says how the good clients fared and fails if one had to wait too long.
func (g *garrison) report(t *testing.T, took time.Duration) {
	t.Helper()
	g.rounds(t, 1)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, f := range g.faults {
		t.Error(f)
	}
	// A join at the quiet gateway waits for the processor once; who waits for the other
	// one waits also for what the attackers' work there takes longer by that.
	allowed := siegeWait() + 2*slices.Max(g.waits[quietJoin])
	for what, waits := range g.waits {
		if longest := slices.Max(waits); longest > allowed {
			t.Errorf("a good client waited %s for a %s", longest.Round(time.Millisecond), what)
		}
	}
	t.Logf("%s; %s", took.Round(time.Millisecond), g.summaryLocked())
}

func (g *garrison) summary() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.summaryLocked()
}

func (g *garrison) summaryLocked() string {
	var parts []string
	for _, what := range garrisonDuties {
		waits := slices.Clone(g.waits[what])
		if len(waits) == 0 {
			continue
		}
		slices.Sort(waits)
		ms := func(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1e3) }
		parts = append(parts, fmt.Sprintf("%d %ss p99 %s max %s ms", len(waits), what, ms(waits[len(waits)*99/100]), ms(waits[len(waits)-1])))
	}
	return strings.Join(parts, ", ")
}

// dismiss ends the good clients.
func (g *garrison) dismiss() {
	g.cancel()
	g.wg.Wait()
}
