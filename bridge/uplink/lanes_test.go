package uplink_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"gantry/bridge/uplink"
	"gantry/bridge/uplink/httplink"
	"gantry/bridge/uplink/wamplink"
	"gantry/store"
	"gantry/wamp"
	"gantry/wamp/client"
)

// raise publishes alarm n.
func (s *setup) raise(n int) {
	s.t.Helper()
	if err := s.hub.Publish(context.Background(), wamp.URI("gantry.g1.alarm.dev.hot"), wamp.PublishOptions{Acknowledge: true},
		wamp.Values(wamp.List{int64(n)}, wamp.Dict{"seq": int64(n)})); err != nil {
		s.t.Fatal(err)
	}
}

// later is a way to a router that is there from open on.
func later(x *realm) (dial func(context.Context) (wamp.Peer, error), open func()) {
	there := make(chan struct{})
	return func(ctx context.Context) (wamp.Peer, error) {
		select {
		case <-there:
			return x.pipe(), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}, func() { close(there) }
}

// TestAlarmsOvertake has a long queue of readings and two alarms behind it.
func TestAlarmsOvertake(t *testing.T) {
	t.Parallel()
	n := 100_000
	if testing.Short() || raceEnabled {
		n /= 10
	}
	far := newRealm(t, nil)
	defer far.stop()
	c := far.collect(far.join(), "gantry.g1.", wamp.SubscribeOptions{})
	dial, open := later(far)
	s := newSetup(t, t.TempDir(), uplink.Config{Forward: []string{"point", "alarm"}, NoLive: true, Buffer: uplink.Buffer{MaxBytes: 256 << 20}}, dial)
	defer s.stop()
	s.publish("temp", 1, n)
	s.raise(1)
	s.raise(2)
	s.raised(2)
	open()
	all := c.waitLong(t, n+2, 3*time.Minute)
	for i := range 2 {
		if e := all[i]; e.topic != "gantry.g1.alarm.dev.hot" || e.value != int64(i+1) || e.kwargs["replay"] != true {
			t.Fatalf("event %d is %+v, an alarm was to come first", i, e)
		}
	}
	for i, e := range all[2:] {
		if e.topic != "gantry.g1.point.dev.temp" || e.value != int64(i+1) {
			t.Fatalf("reading %d is %+v", i, e)
		}
	}
}

// TestAlarmsGoBesideABacklog raises alarms while a long queue is being sent.
func TestAlarmsGoBesideABacklog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n, alarms, rate = 6000, 5, 1000
		far := newRealm(t, nil)
		defer far.stop()
		c := far.collect(far.join(), "gantry.g1.", wamp.SubscribeOptions{})
		dial, open := later(far)
		cfg := uplink.Config{Forward: []string{"point", "alarm"}, NoLive: true, Buffer: uplink.Buffer{MaxBytes: 256 << 20}, Rate: uplink.Rate{Events: rate}}
		s := newSetup(t, t.TempDir(), cfg, dial)
		defer s.stop()
		s.publish("temp", 1, n)
		open()
		c.wait(t, 1)
		for i := range alarms {
			s.raise(i + 1)
		}
		time.Sleep(n / rate * time.Second)
		// Alarms that wait would be behind all of them.
		all := c.wait(t, 4*rate)
		seen := 0
		for _, e := range all[:4*rate] {
			if e.topic == "gantry.g1.alarm.dev.hot" {
				if seen++; e.value != int64(seen) {
					t.Errorf("alarm %d came as number %v", seen, e.value)
				}
			}
		}
		if seen != alarms {
			t.Errorf("%d alarms of %d were among the first %d of %d events", seen, alarms, 4*rate, n)
		}
	})
}

// TestAlarmsAreTakenOnce loses the connection again and again while both lanes are
// sent: the router's marks hold for each by itself.
func TestAlarmsAreTakenOnce(t *testing.T) {
	t.Parallel()
	far := newRealm(t, nil)
	defer far.stop()
	c := far.collect(far.join(), "gantry.g1.", wamp.SubscribeOptions{})
	cut := newCutter(far)
	s := newSetup(t, t.TempDir(), uplink.Config{Forward: []string{"point", "alarm"}, NoLive: true}, cut.dial)
	defer s.stop()
	const rounds, readings = 3, 200
	for i := range rounds {
		s.publish("temp", i*readings+1, (i+1)*readings)
		s.raise(i + 1)
		c.wait(t, (i+1)*(readings+1)-readings/2)
		cut.now()
	}
	all := c.wait(t, rounds*(readings+1))
	next := map[wamp.URI]int64{}
	for _, e := range all {
		if next[e.topic]++; e.value != next[e.topic] {
			t.Fatalf("%s: %v came in place of %d", e.topic, e.value, next[e.topic])
		}
	}
}

// cutter is a way to a router that can be cut.
type cutter struct {
	far   *realm
	peers chan wamp.Peer // capacity 1: the present connection
}

func newCutter(far *realm) *cutter { return &cutter{far, make(chan wamp.Peer, 1)} }

func (c *cutter) dial(context.Context) (wamp.Peer, error) {
	p := c.far.pipe()
	c.peers <- p
	return p, nil
}

func (c *cutter) now() { _ = (<-c.peers).Close() }

// mirror adds an uplink to web server that sends from the same queues.
func (s *setup) mirror(url string, cfg uplink.Config) (dead *store.Outbox) {
	s.t.Helper()
	cfg.Kind, cfg.URL, cfg.Queue = uplink.KindHTTP, url, "hq"
	sink, err := httplink.New(httplink.Config{URL: url, Stream: "g1/" + s.queue.ID()}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if dead, err = s.kv.Outbox("mirror_dead", store.OutboxConfig{MaxBytes: 4 << 20}); err != nil {
		s.t.Fatal(err)
	}
	u, err := uplink.New("mirror", cfg, uplink.Deps{
		Origin: s.origin, Local: s.local.join(), Sink: sink, Queue: reads(s.queue), Urgent: reads(s.urgent), DeadLetters: dead, Source: s.up,
	}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.others = append(s.others, u)
	return dead
}

// reader is an outbox as its reader "mirror" has it.
type reader struct {
	*store.Reader
	box *store.Outbox
}

func reads(box *store.Outbox) reader { return reader{box.Reader("mirror"), box} }

func (r reader) ID() string { return r.box.ID() }
func (r reader) Enqueue(ctx context.Context, b []byte, urgent bool) (uint64, error) {
	return r.box.Enqueue(ctx, b, urgent)
}

// TestTwoUplinksShareAQueue has a router and a web server, which is away for a while,
// wants less, and refuses an event.
func TestTwoUplinksShareAQueue(t *testing.T) {
	t.Parallel()
	far := newRealm(t, nil)
	defer far.stop()
	c := far.collect(far.join(), "gantry.g1.point.", wamp.SubscribeOptions{})
	in := &inbox{keys: map[string]int{}, more: make(chan struct{}, 1), down: true}
	web := httptest.NewServer(in)
	defer web.Close()
	defer http.DefaultClient.CloseIdleConnections()
	s := prepare(t, t.TempDir(), uplink.Config{URL: "ws://far/ws", Forward: []string{"point", "alarm"}, NoLive: true}, wampSink(always(far)), "mirror")
	dead := s.mirror(web.URL, uplink.Config{Forward: []string{"point"}, Exclude: []string{"point..own"}, NoLive: true})
	s.run()
	defer s.stop()
	for i := range 30 {
		s.publish("temp", i+1, i+1)
		s.publish("own", i+1, i+1)
	}
	c.wait(t, 60)
	if at := s.queue.Reader("mirror").Acked(); at != 0 {
		t.Fatalf("the web server is away and has acknowledged %d", at)
	}
	in.mu.Lock()
	in.down = false
	in.mu.Unlock()
	var want []int
	for i := range 30 {
		if i+1 != 13 {
			want = append(want, i+1)
		}
	}
	if got := in.wait(t, 29); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the web server has %v", got)
	}
	// What it refuses concerns nobody else.
	for dead.Status().Appended == 0 {
		if err := dead.Read(t.Context(), 0, 1, func(uint64, uint64, []byte, uint64) {}); err != nil {
			t.Fatal(err)
		}
	}
	s.publish("temp", 31, 31)
	if all := c.wait(t, 61); len(all) != 61 || all[60].value != int64(31) {
		t.Errorf("the router has %d events, the last %+v", len(all), all[len(all)-1])
	}
	if n := s.dead.Status().Appended; n != 0 {
		t.Errorf("%d dead letters of the other uplink", n)
	}
}

// wampSink makes the sink of a router.
func wampSink(dial func(context.Context) (wamp.Peer, error)) func(*setup, *uplink.Commands) (uplink.Sink, error) {
	return func(s *setup, commands *uplink.Commands) (uplink.Sink, error) {
		return wamplink.New(wamplink.Config{
			Dial: dial, Session: client.SessionConfig{Realm: "gantry", AuthID: "g1"}, Stream: "g1/" + s.queue.ID(), Commands: commands,
		}, nil)
	}
}
