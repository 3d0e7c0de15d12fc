package mqtt_test

import (
	"context"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/tidwall/gjson"

	"gantry/bridge"
	"gantry/bridge/mqtt"
	"gantry/internal/mosquitto"
	"gantry/wamp"
)

// benchMessages is the load of one round.
const benchMessages = 20_000

// sink is the end of one way that messages go from a broker.
type sink struct {
	addr  string // where to publish
	open  atomic.Bool
	count atomic.Int64
	late  []time.Duration // of messages with a time, from publishing on; owned by the sink's goroutine
}

// took notes a message that has arrived, published at a time in nanoseconds; 0 = not
// told, -1 = to see whether the way is open.
func (s *sink) took(at int64) {
	if at < 0 {
		s.open.Store(true)
		return
	}
	if at > 0 {
		s.late = append(s.late, time.Duration(time.Now().UnixNano()-at))
	}
	s.count.Add(1)
}

// ways are the ways from a publisher to what takes its messages: paho alone, a
// bridge of Mosquitto and paho, and the client with a rule, to a subscriber in the
// realm and to a queue on disk.
var ways = []struct {
	name string
	make func(b *testing.B) *sink
}{
	{"paho", func(b *testing.B) *sink {
		s := &sink{addr: mosquitto.NewBroker(b, "max_queued_messages 0").Addr}
		s.subscribe(b, s.addr)
		return s
	}},
	{"mosquitto-bridge", func(b *testing.B) *sink {
		first := mosquitto.NewBroker(b, "max_queued_messages 0")
		second := mosquitto.NewBroker(b, "max_queued_messages 0", "connection up", "address "+first.Addr, "topic # in 1", "restart_timeout 1")
		s := &sink{addr: first.Addr}
		s.subscribe(b, second.Addr)
		return s
	}},
	{"subscriber", func(b *testing.B) *sink {
		s := &sink{addr: mosquitto.NewBroker(b, "max_queued_messages 0").Addr}
		w := newWorld(b, benchConfig(s.addr))
		w.await(bridge.Online)
		close(w.deaf)
		s.realm(b, w, func(*wamp.Event) {})
		return s
	}},
	{"outbox", func(b *testing.B) *sink { return toOutbox(b, false) }},
	{"outbox-confirmed", func(b *testing.B) *sink { return toOutbox(b, true) }},
}

// toOutbox takes readings into a queue on disk. Confirmed ones are there before
// their messages are acknowledged; the broker then has more in flight than by
// default.
func toOutbox(b *testing.B, confirmed bool) *sink {
	s := &sink{addr: mosquitto.NewBroker(b, "max_queued_messages 0", "max_inflight_messages 200").Addr}
	box := outbox(b, 1<<26)
	keeper := make(chan wamp.Session, 1)
	w := newWorldWith(b, benchConfig(s.addr), func(d *mqtt.Deps) {
		var k wamp.Session
		d.Settle = func(ctx context.Context) error {
			if k == nil {
				k = <-keeper
			}
			if err := k.Publish(ctx, "test.settle", wamp.PublishOptions{Acknowledge: true}, wamp.Payload{}); err != nil {
				return err
			}
			return box.Confirm(ctx)
		}
	})
	w.await(bridge.Online)
	close(w.deaf)
	keeper <- s.realm(b, w, func(ev *wamp.Event) {
		if _, err := box.Enqueue(b.Context(), []byte(ev.Details.Topic), confirmed); err != nil {
			b.Error(err)
		}
	})
	return s
}

func benchConfig(addr string) mqtt.Config {
	return mqtt.Config{URL: "tcp://" + addr, NoProbe: true, RulesConfig: bridge.RulesConfig{
		Map: []bridge.MapConfig{{Topic: "bench/{d}", Device: "{d}", Points: map[string]any{"at": "at"}}},
	}}
}

// subscribe takes messages as a program with paho would.
func (s *sink) subscribe(b *testing.B, addr string) {
	c := connected(b, addr, "sink")
	token := c.Subscribe("bench/#", 1, func(_ paho.Client, m paho.Message) { s.took(gjson.GetBytes(m.Payload(), "at").Int()) })
	if !token.WaitTimeout(patience) || token.Error() != nil {
		b.Fatal(token.Error())
	}
}

// realm takes readings, without loss.
func (s *sink) realm(b *testing.B, w *world, also func(*wamp.Event)) wamp.Session {
	k := w.lossless()
	opts := wamp.SubscribeOptions{Match: wamp.MatchPrefix}
	if _, err := k.Subscribe(b.Context(), "gantry.gw.point.", opts, func(ev *wamp.Event) {
		args, _ := ev.Payload.GoValues()
		at, _ := args[0].(int64)
		also(ev)
		s.took(at)
	}); err != nil {
		b.Fatal(err)
	}
	return k
}

// await waits until the sink has n messages.
func (s *sink) await(b *testing.B, n int64) {
	s.poll(b, time.Millisecond, func() bool { return s.count.Load() >= n })
}

// poll asks again and again until it is so.
func (s *sink) poll(b *testing.B, every time.Duration, so func() bool) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for deadline := time.Now().Add(60 * time.Second); !so(); <-tick.C {
		if time.Now().After(deadline) {
			b.Fatalf("%d messages", s.count.Load())
		}
	}
}

// BenchmarkLoad publishes with mosquitto_pub at QoS 1, as fast as that goes. The CPU
// time is that of this process, which only takes the messages.
func BenchmarkLoad(b *testing.B) {
	pub := mosquitto.Need(b, "mosquitto_pub", "mosquitto-clients")
	for _, way := range ways {
		b.Run(way.name, func(b *testing.B) {
			s := way.make(b)
			s.warm(b)
			host, port, _ := net.SplitHostPort(s.addr)
			before, want := cpu(b), int64(0)
			for b.Loop() {
				cmd := exec.Command(pub, "-h", host, "-p", port, "-q", "1", "-l", "-t", "bench/d")
				cmd.Stdin = strings.NewReader(strings.Repeat("{\"at\":0,\"t\":21.5,\"name\":\"kitchen\"}\n", benchMessages))
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v: %s", err, out)
				}
				want += benchMessages
				s.await(b, want)
			}
			n := float64(b.N) * benchMessages
			b.ReportMetric(n/b.Elapsed().Seconds(), "msgs/s")
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/n, "cpu-us/msg")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkLatency publishes 1000 messages a second at QoS 1 and tells how long they
// take.
func BenchmarkLatency(b *testing.B) {
	mosquitto.Need(b, "mosquitto", "mosquitto")
	for _, way := range ways {
		b.Run(way.name, func(b *testing.B) {
			s := way.make(b)
			s.warm(b)
			c := connected(b, s.addr, "publisher")
			want := int64(0)
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for b.Loop() {
				for range 5000 {
					<-tick.C
					c.Publish("bench/d", 1, false, []byte(`{"at":`+strconv.FormatInt(time.Now().UnixNano(), 10)+`,"t":21.5,"name":"kitchen"}`))
				}
				want += 5000
				s.await(b, want)
			}
			slices.Sort(s.late)
			at := func(share float64) float64 {
				return float64(s.late[int(share*float64(len(s.late)-1))].Microseconds())
			}
			b.ReportMetric(at(0.5), "p50-us")
			b.ReportMetric(at(0.99), "p99-us")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// warm publishes until a message has come through.
func (s *sink) warm(b *testing.B) {
	c := connected(b, s.addr, "warm")
	s.poll(b, 50*time.Millisecond, func() bool {
		c.Publish("bench/d", 1, false, `{"at":-1}`).WaitTimeout(patience)
		return s.open.Load()
	})
}

// cpu returns the CPU time of this process.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
