package uplink_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gantry/bridge/uplink"
	"gantry/wamp"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
)

// narrow is the router's end of a connection that carries rate bytes a second. What waits
// for that is bounded by the connection, as it is by the buffers of a kernel.
type narrow struct {
	wamp.Peer
	rate int
	free time.Time // when the line has carried all that has come
}

// Recv is called by one goroutine.
func (n *narrow) Recv() (wamp.Message, error) {
	m, err := n.Peer.Recv()
	size := 30
	if p, is := m.(*wamp.Publish); is {
		size += len(p.Topic) + p.Payload.Size() + 40
	}
	if now := time.Now(); n.free.Before(now) {
		n.free = now
	}
	n.free = n.free.Add(time.Duration(size) * time.Second / time.Duration(n.rate))
	time.Sleep(time.Until(n.free))
	return m, err
}

// lateness notes when the far side has got how far with values that count up from 1.
type lateness struct {
	mu   sync.Mutex
	sent map[wamp.URI][]time.Time
	late []time.Duration // of values that the far side knows, or newer ones in their place
	done map[wamp.URI]int
}

func (l *lateness) publish(s *setup, topic wamp.URI) {
	l.mu.Lock()
	l.sent[topic] = append(l.sent[topic], time.Now())
	n := len(l.sent[topic])
	l.mu.Unlock()
	if err := s.hub.Publish(context.Background(), topic, wamp.PublishOptions{}, wamp.Values(wamp.List{int64(n)}, wamp.Dict{"seq": int64(n), "ep": int64(1), "q": "good"})); err != nil {
		s.t.Error(err)
	}
}

func (l *lateness) arrived(ev *wamp.Event) {
	var n int
	if serialize.Arg(ev.Payload, 0, &n) != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	topic := ev.Details.Topic
	for l.done[topic] < n {
		l.late = append(l.late, time.Since(l.sent[topic][l.done[topic]]))
		l.done[topic]++
	}
}

// TestLiveValuesAreNotLate drains a long queue over a line of 64 kbit/s, with values of
// four points coming all the time: but for the first ones, the far side knows each, or a
// newer one of its point, within a second.
func TestLiveValuesAreNotLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := newRealm(t, nil)
		defer far.stop()
		there := make(chan struct{})
		dial := func(ctx context.Context) (wamp.Peer, error) {
			select {
			case <-there:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			c, r := transport.Pipe(transport.PipeConfig{})
			far.tasks.Go(func() { far.r.Accept(far.ctx, &narrow{Peer: r, rate: 64_000 / 8}) })
			return c, nil
		}
		l := &lateness{sent: map[wamp.URI][]time.Time{}, done: map[wamp.URI]int{}}
		if _, err := far.join().Subscribe(t.Context(), "gantry.g1.point.live.", wamp.SubscribeOptions{Match: wamp.MatchPrefix}, l.arrived); err != nil {
			t.Fatal(err)
		}
		s := newSetup(t, t.TempDir(), uplink.Config{}, dial)
		defer s.stop()
		const backlog = 4000
		note := strings.Repeat("x", 130)
		for i := range backlog {
			if err := s.hub.Publish(t.Context(), "gantry.g1.point.meter.power", wamp.PublishOptions{Acknowledge: i == backlog-1},
				wamp.Values(wamp.List{int64(i)}, wamp.Dict{"seq": int64(i), "q": "good", "note": note})); err != nil {
				t.Fatal(err)
			}
		}
		close(there)
		for range 240 {
			for p := range 4 {
				l.publish(s, wamp.URI(fmt.Sprint("gantry.g1.point.live.p", p)))
			}
			time.Sleep(250 * time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		depth := s.up.Status()["depth"].(uint64)
		l.mu.Lock()
		defer l.mu.Unlock()
		slices.Sort(l.late)
		if len(l.late) < 4*236 || depth < backlog/4 {
			t.Fatalf("%d values have come; %d events wait", len(l.late), depth)
		}
		p99, worst := l.late[len(l.late)*99/100], l.late[len(l.late)-1]
		t.Logf("values while %d events wait: median %s, p99 %s, worst %s late", depth, l.late[len(l.late)/2], p99, worst)
		if p99 >= time.Second {
			t.Errorf("p99 is %s", p99)
		}
	})
}
