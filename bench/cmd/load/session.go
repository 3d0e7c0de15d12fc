package main

import (
	"fmt"
	"time"
)

// setupLimit bounds everything that happens before a measurement.
const setupLimit = 30 * time.Second

// run is one measurement of one router.
type run struct {
	*loop
	router   *router
	link     *link
	duration time.Duration
	name     string // in topics and procedures: no run meets another's
}

// join opens a session. For a relay, which knows no sessions, role says what the
// connection is for. ready is called when it has joined.
func (r *run) join(k *link, role string, rcvbuf int, ready func()) (*conn, error) {
	c, err := r.dial(k, r.router.port(k), rcvbuf)
	if err != nil {
		return nil, err
	}
	c.hello = func() {
		if r.router.relay {
			c.whole([]byte(role + " " + r.name))
			return
		}
		roles := dict{}
		for _, name := range []string{"publisher", "subscriber", "caller", "callee"} {
			roles = append(roles, pair{name, dict{}})
		}
		c.whole(encode(nil, k.format, list{1, realm, dict{{"roles", roles}, {"authmethods", list{"anonymous"}}, {"authid", "bench"}}}))
	}
	c.message = func(kind, _ uint64, b []byte) {
		if !r.router.relay && kind != 2 {
			c.fail(fmt.Errorf("expected WELCOME, got %q", b))
		}
		c.message = nil
		ready()
	}
	return c, nil
}

// joinAll opens n sessions, a few at a time, over the links in turn.
func (r *run) joinAll(n int, role string, links ...*link) ([]*conn, error) {
	const sideBySide = 32
	conns := make([]*conn, 0, n)
	joined := 0
	for len(conns) < n {
		c, err := r.join(links[len(conns)%len(links)], role, 0, func() { joined++ })
		if err != nil {
			return nil, err
		}
		conns = append(conns, c)
		if len(conns)-joined >= sideBySide {
			if err := r.run(setupLimit, "join", func() bool { return len(conns)-joined < sideBySide/2 }); err != nil {
				return nil, err
			}
		}
	}
	return conns, r.run(setupLimit, "join", func() bool { return joined == n })
}

// ask sends requests, kinds SUBSCRIBE (32) and REGISTER (64), and waits for the
// answers. Only a few wait at a time: peers drop answers that are too many.
func (r *run) ask(conns []*conn, t func(*conn) []*template) error {
	if r.router.relay {
		return nil
	}
	asked, answered := 0, 0
	for _, c := range conns {
		c.message = func(kind, _ uint64, b []byte) {
			switch kind {
			case 33, 65:
				answered++
			default:
				c.fail(fmt.Errorf("expected SUBSCRIBED or REGISTERED, got %q", b))
			}
		}
		for _, t := range t(c) {
			c.request(t, 0)
			asked++
			if asked-answered < 256 {
				continue
			}
			if err := r.run(setupLimit, "subscribe or register", func() bool { return asked-answered < 128 }); err != nil {
				return err
			}
		}
	}
	return r.run(setupLimit, "subscribe or register", func() bool { return answered == asked })
}

// subscribe has every connection subscribe to a topic or pattern.
func (r *run) subscribe(conns []*conn, match, topic string) error {
	return r.ask(conns, func(c *conn) []*template {
		return []*template{newTemplate(c.format, 32, matching(match), topic)}
	})
}

func matching(match string) dict {
	if match == "exact" {
		return dict{}
	}
	return dict{{"match", match}}
}

// figures are what one measurement gives.
type figures struct {
	Messages  uint64  `json:"messages"`
	Rate      float64 `json:"rate"`        // messages a second
	CPU       float64 `json:"cpu_us"`      // of the router for each message, microseconds
	System    float64 `json:"system"`      // share of it that is the kernel's
	Generator float64 `json:"load_us"`     // CPU of this program for each message
	P50       float64 `json:"p50_us"`      //
	P99       float64 `json:"p99_us"`      //
	P999      float64 `json:"p999_us"`     //
	RSS       float64 `json:"rss_mib"`     // of the router at the end
	Lost      int64   `json:"lost"`        // messages that never came
	Session   float64 `json:"session_kib"` // memory for each idle session
}

// traffic is what measure drives.
type traffic struct {
	count     uint64 // messages that have come
	latency   hist
	stopped   bool // nothing new is sent
	waiting   func() int64
	lost      int64
	lastCount uint64
	lastMove  time.Time
}

// stuck tells whether nothing has come for a long time.
func (t *traffic) stuck(now time.Time) bool {
	if t.count != t.lastCount {
		t.lastCount, t.lastMove = t.count, now
	}
	return now.Sub(t.lastMove) > time.Second
}

// measure lets the traffic, which has begun, warm up, measures it, and waits for
// what is on its way.
func (r *run) measure(t *traffic) (*figures, error) {
	t.lastMove = time.Now()
	until := func(d time.Duration) error {
		end := time.Now().Add(d)
		return r.run(d+setupLimit, "measure", func() bool { return r.now.After(end) })
	}
	if err := until(max(r.duration/4, 50*time.Millisecond)); err != nil {
		return nil, err
	}
	if err := r.run(2*time.Second, "no message comes", func() bool { return t.count > 0 }); err != nil {
		return nil, err
	}
	t.latency = hist{}
	count, cpu, own, begin := t.count, r.router.cpu(), ownCPU(), time.Now()
	user, system := r.router.ticks()
	if err := until(r.duration); err != nil {
		return nil, err
	}
	// A slow router's figure should not hang on one message.
	if err := r.run(setupLimit, "measure", func() bool { return t.count >= count+20 }); err != nil {
		return nil, err
	}
	user2, system2 := r.router.ticks()
	n, took := t.count-count, time.Since(begin)
	f := &figures{
		Messages: n, Rate: float64(n) / took.Seconds(),
		CPU:       micros(r.router.cpu()-cpu) / float64(n),
		Generator: micros(ownCPU()-own) / float64(n),
		P50:       micros(t.latency.quantile(0.5)), P99: micros(t.latency.quantile(0.99)), P999: micros(t.latency.quantile(0.999)),
		RSS: float64(r.router.rss()) / (1 << 20),
	}
	if ticks := user2 - user + system2 - system; ticks > 0 {
		f.System = float64(system2-system) / float64(ticks)
	}
	t.stopped = true
	err := r.run(setupLimit, "last messages", func() bool { return t.waiting() == 0 || t.stuck(r.now) })
	f.Lost = t.lost + t.waiting()
	return f, err
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
