package uplink_test

import (
	"context"
	"net"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"gantry/bridge/uplink"
	"gantry/bridge/uplink/httplink"
	"gantry/bridge/uplink/mqttlink"
	"gantry/internal/badline"
	"gantry/internal/mosquitto"
	"gantry/wamp"
	"gantry/wamp/transport"
)

// listen has the router's realm served at an address, until the test ends.
func (x *realm) listen() (addr string) {
	x.t.Helper()
	srv, err := transport.NewServer(transport.ServerConfig{}, x.r.Admit, nil)
	if err != nil {
		x.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		x.t.Fatal(err)
	}
	x.tasks.Go(func() {
		if err := srv.Serve(x.ctx, ln); err != nil {
			x.t.Error(err)
		}
	})
	return ln.Addr().String()
}

// overLine has a gateway with an uplink of a kind over a line to a real peer. gone is
// closed when the peer has found the gateway dead, where it tells.
type overLine struct {
	*setup
	line *badline.Line
	gone chan struct{}
}

func overWAMP(scheme, path string) func(*testing.T) *overLine {
	return func(t *testing.T) *overLine {
		far := newRealm(t, nil)
		t.Cleanup(far.stop)
		o := &overLine{line: badline.New(t, far.listen(), 0), gone: make(chan struct{})}
		gone := sync.OnceFunc(func() { close(o.gone) }) // it may come back, and go again
		if _, err := far.join().Subscribe(t.Context(), "wamp.session.on_leave", wamp.SubscribeOptions{}, func(*wamp.Event) { gone() }); err != nil {
			t.Fatal(err)
		}
		o.setup = newSetup(t, t.TempDir(), uplink.Config{}, func(ctx context.Context) (wamp.Peer, error) {
			return transport.Dial(ctx, scheme+"://"+o.line.Addr()+path, transport.DialConfig{})
		})
		return o
	}
}

func overMQTT(t *testing.T) *overLine {
	broker := mosquitto.NewBroker(t)
	o := &overLine{line: badline.New(t, broker.Addr, 0)}
	o.setup = newSetupOf(t, t.TempDir(), uplink.Config{Kind: "mqtt", URL: "tcp://broker"}, toBroker(o.line.Addr(), mqttlink.Config{}))
	return o
}

func overHTTP(t *testing.T) *overLine {
	server := httptest.NewServer(&inbox{keys: map[string]int{}, more: make(chan struct{}, 1)})
	t.Cleanup(server.Close)
	o := &overLine{line: badline.New(t, server.Listener.Addr().String(), 0)}
	o.setup = newSetupOf(t, t.TempDir(), uplink.Config{Kind: "http", URL: server.URL, Forward: []string{"point"}}, func(s *setup, _ *uplink.Commands) (uplink.Sink, error) {
		return httplink.New(httplink.Config{URL: "http://" + o.line.Addr(), Stream: s.queue.ID()}, nil)
	})
	return o
}

// halfOpenLimit is how long a way on which everything vanishes may stay unnoticed.
const halfOpenLimit = 15 * time.Second

// TestHalfOpenLinesAreNoticed has a way on which everything vanishes without a word,
// while there is nothing to send and while there is.
func TestHalfOpenLinesAreNoticed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		over func(*testing.T) *overLine
		busy bool
	}{
		{"websocket, idle", overWAMP("ws", "/ws"), false},
		{"websocket, sending", overWAMP("ws", "/ws"), true},
		{"rawsocket, idle", overWAMP("rs", ""), false},
		{"rawsocket, sending", overWAMP("rs", ""), true},
		{"mqtt, idle", overMQTT, false},
		{"mqtt, sending", overMQTT, true},
		// There is no connection to look at while nothing is sent.
		{"http, sending", overHTTP, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if took := c.over(t).noticed(c.busy); took > halfOpenLimit {
				t.Errorf("noticed after %v; the limit is %v", took, halfOpenLimit)
			}
		})
	}
}

// noticed has everything on the line vanish and returns when both sides have found out.
func (o *overLine) noticed(busy bool) time.Duration {
	o.t.Helper()
	defer o.stop()
	o.publish("temp", 1, 1)
	o.acknowledged(1)
	o.line.Hole.Store(true)
	began := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := 2; o.up.Status()["connected"] == true; i++ {
		if busy {
			o.publish("temp", i, i)
		}
		<-tick.C
		if time.Since(began) > time.Minute {
			o.t.Fatal("not noticed within a minute")
		}
	}
	took := time.Since(began)
	if o.gone != nil {
		<-o.gone
	}
	all := time.Since(began)
	o.t.Logf("noticed after %.1f s, by the far side after %.1f s: %v", took.Seconds(), all.Seconds(), o.up.Status()["reason"])
	return all
}

// TestALineThatTakesNothingIsNoConnection has a line that accepts and stays silent: the
// state of the link is told all the same.
func TestALineThatTakesNothingIsNoConnection(t *testing.T) {
	t.Parallel()
	for name, over := range map[string]func(*testing.T) *overLine{"wamp": overWAMP("ws", "/ws"), "mqtt": overMQTT, "http": overHTTP} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := over(t)
			defer o.stop()
			o.publish("temp", 1, 1)
			o.acknowledged(1)
			watcher := o.local.join()
			states := o.local.collect(watcher, "gantry.g1.state.uplink_hq.link", wamp.SubscribeOptions{GetRetained: true})
			n := 1 // of the states, the last of which is online
			for e := states.wait(t, n); e[n-1].value != "online"; e = states.wait(t, n) {
				n++
			}
			o.line.Hole.Store(true)
			o.line.Cut()
			o.publish("temp", 2, 2)
			if e := states.wait(t, n+1)[n]; e.value != "offline" {
				t.Errorf("%+v", e)
			}
			began := time.Now()
			// The reason becomes that of the attempt.
			if e := states.wait(t, n+2)[n+1]; e.value != "offline" || e.kwargs["reason"] == "" {
				t.Errorf("%+v", e)
			}
			t.Logf("attempt given up after %.1f s", time.Since(began).Seconds())
			if took := time.Since(began); took > halfOpenLimit+2*time.Second { // until the attempt begins
				t.Errorf("given up after %v", took)
			}
		})
	}
}
