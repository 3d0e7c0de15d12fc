package mqtt_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"gantry/bridge"
	"gantry/bridge/mqtt"
	"gantry/internal/mosquitto"
	"gantry/store"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/transport"
)

// proxy carries connections to a broker, and loses some of the PUBACKs towards it.
type proxy struct {
	ln    net.Listener
	to    string
	tasks sync.WaitGroup
	lost  atomic.Int64
}

// lossy is the share of PUBACKs that are lost.
const lossy = 0.02

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{ln: ln, to: to}
	p.tasks.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			p.tasks.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); p.tasks.Wait() })
	return p
}

func (p *proxy) serve(c net.Conn) {
	defer c.Close()
	b, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer b.Close()
	p.tasks.Go(func() {
		_, _ = io.Copy(c, b)
		_ = c.Close()
	})
	for {
		pkt, err := packets.ReadPacket(c)
		if err != nil {
			return
		}
		if _, ack := pkt.(*packets.PubackPacket); ack && rand.Float64() < lossy {
			p.lost.Add(1)
			continue
		}
		if pkt.Write(b) != nil {
			return
		}
	}
}

// streams is how many streams the publisher has.
const streams = 4

// rewind is how many messages the publisher sends again after it lost the broker,
// which may have lost what it acknowledged last: it is killed, and saves after some
// changes. Saving after each would take it more time than it gets.
const rewind = 400

// pace is the time between two messages.
const pace = 2 * time.Millisecond

// publisher sends numbered messages, waits for each acknowledgement, and goes on
// after each loss of the broker. When stop ends it sends the last ones again, as the
// broker may have been killed just then, and returns how many there are.
func publisher(t testing.TB, stop context.Context, addr string) (sent int) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	opts := paho.NewClientOptions().AddBroker("tcp://" + addr).SetClientID("publisher").SetAutoReconnect(false).
		SetConnectTimeout(time.Second).SetWriteTimeout(time.Second)
	for next := 0; ; next = max(0, next-rewind) {
		last := stop.Err() != nil
		c := paho.NewClient(opts)
		if token := c.Connect(); token.WaitTimeout(2*time.Second) && token.Error() == nil {
			for last && next < sent || !last && stop.Err() == nil {
				token := c.Publish(fmt.Sprintf("chaos/s%d", next%streams), 1, false, fmt.Sprint(next/streams))
				if !token.WaitTimeout(2*time.Second) || token.Error() != nil {
					break
				}
				next++
				sent = max(sent, next)
				<-tick.C
			}
		}
		c.Disconnect(0)
		if last && next == sent || t.Context().Err() != nil {
			return sent
		}
		<-tick.C
	}
}

// chaosTime is how long the broker is killed again and again.
func chaosTime(t *testing.T) time.Duration {
	t.Helper()
	if s := os.Getenv("GANTRY_SOAK"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatalf("GANTRY_SOAK: %v", err)
		}
		return d
	}
	if testing.Short() {
		return 7 * time.Second
	}
	return 14 * time.Second
}

// TestNothingIsLost kills the broker every 3 s and loses PUBACKs. Readings go to a
// queue on disk, and messages are acknowledged when they are there. In the end the
// queue has each message of each stream, and the first copy of each in order.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	// Where messages in flight are limited, Mosquitto lets some overtake those that had to
	// wait.
	b := mosquitto.NewBroker(t, "max_inflight_messages 0", "persistence true", "persistence_location "+t.TempDir()+"/",
		"autosave_on_changes true", "autosave_interval 100", "max_queued_messages 0")
	p := newProxy(t, b.Addr)
	box := outbox(t, 1<<30) // for all copies of the longest run
	var keeper *client.Session
	cfg := mqtt.Config{URL: "tcp://" + p.ln.Addr().String(), Persistent: true, RulesConfig: bridge.RulesConfig{
		Map: []bridge.MapConfig{{Topic: "chaos/{s}", Device: "{s}", Point: "n", Type: "int"}},
	}}
	w := newWorldWith(t, cfg, func(d *mqtt.Deps) {
		d.Settle = func(ctx context.Context) error {
			if err := keeper.Publish(ctx, "test.settle", wamp.PublishOptions{Acknowledge: true}, wamp.Payload{}); err != nil {
				return err
			}
			return box.Confirm(ctx)
		}
	})
	w.await(bridge.Online)
	close(w.deaf)
	keeper = w.lossless()
	if _, err := keeper.Subscribe(t.Context(), "gantry.gw.point.", wamp.SubscribeOptions{Match: wamp.MatchPrefix}, func(ev *wamp.Event) {
		args, _ := ev.Payload.GoValues()
		record := binary.BigEndian.AppendUint64(nil, uint64(args[0].(int64)))
		if _, err := box.Enqueue(t.Context(), append(record, ev.Details.Topic...), true); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), chaosTime(t))
	defer cancel()
	sent := make(chan int, 1)
	go func() { sent <- publisher(t, ctx, b.Addr) }()
	kills := 0
	for tick := time.NewTicker(3 * time.Second); ctx.Err() == nil; {
		select {
		case <-tick.C:
			b.Kill()
			b.Start()
			kills++
		case <-ctx.Done():
			tick.Stop()
		}
	}
	n := <-sent
	c := &tally{}
	deadline, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	defer stop()
	for c.total < n {
		if !c.read(deadline, t, box) {
			t.Fatalf("%d of %d messages have come, %d copies; %+v", c.total, n, c.copies, w.client.Stats())
		}
	}
	s := w.client.Stats()
	if s.Parked+s.Dropped+s.Rules.Bad > 0 || kills == 0 || n < 100 {
		t.Errorf("%d messages, %d kills, %+v", n, kills, s)
	}
	t.Logf("%d messages, each once but for %d more copies; broker killed %d times, %d PUBACKs lost, %d connections", n, c.copies, kills, p.lost.Load(), s.Connections)
}

// tally reads the queue and checks order.
type tally struct {
	after         uint64
	next          [streams]uint64
	total, copies int
}

func (c *tally) read(ctx context.Context, t *testing.T, box *store.Outbox) bool {
	t.Helper()
	err := box.Read(ctx, c.after, 1000, func(_, seq uint64, record []byte, lost uint64) {
		c.after = seq
		if lost > 0 {
			t.Fatalf("%d records up to %d are lost from the queue", lost, seq)
		}
		var stream int
		if _, err := fmt.Sscanf(string(bytes.TrimSuffix(record[8:], []byte(".n"))), "gantry.gw.point.s%d", &stream); err != nil {
			t.Fatalf("record %d: %v", seq, err)
		}
		switch n := binary.BigEndian.Uint64(record); {
		case n == c.next[stream]:
			c.next[stream]++
			c.total++
		case n < c.next[stream]:
			c.copies++
		default:
			t.Fatalf("stream %d: %d came when %d was due", stream, n, c.next[stream])
		}
	})
	return err == nil
}

// lossless joins as a queue does: it slows publishers down, and loses nothing.
func (w *world) lossless() *client.Session {
	w.t.Helper()
	c, p := transport.Pipe(transport.PipeConfig{Lossless: true})
	w.tasks.Go(func() { w.router.Accept(w.ctx, p) })
	s, err := client.Join(w.ctx, c, client.SessionConfig{Realm: "gantry"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close(); <-s.Done() })
	return s
}
