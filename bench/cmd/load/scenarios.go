package main

import (
	"fmt"
	"path"
	"strings"
	"time"
)

// scenario is one kind of load.
type scenario struct {
	name  string
	what  string
	fresh bool   // needs a router that has done nothing yet
	peers bool   // needs a router that knows WAMP: none of the relays
	extra bool   // only when asked for by name
	links string // instead of those that are usual; only routers that know them take part
	long  bool   // takes nexus a minute and a half: once in a full run, in a quick one not at all
	run   func(*run) (*figures, error)
}

// The scenarios, in the order of the table.
var scenarios = []scenario{
	{name: "rpc-serial", what: "one caller, one call at a time", run: calls(1, 1, 1, 128)},
	{name: "rpc-64", what: "8 callers with 8 calls in flight, 2 callees", run: calls(8, 2, 8, 128)},
	{name: "rpc-64-8k", what: "the same with 8 KiB of payload", run: calls(8, 2, 8, 8<<10)},
	{name: "fan-1", what: "1 subscriber, 16 publications in flight", run: fan{subs: 1, window: 16}.run},
	{name: "fan-10", what: "10 subscribers, 16 in flight", run: fan{subs: 10, window: 16}.run},
	{name: "fan-100", what: "100 subscribers, 16 in flight", run: fan{subs: 100, window: 16}.run},
	{name: "fan-1000", what: "1000 subscribers, 8 in flight", run: fan{subs: 1000, window: 8}.run},
	{name: "fan-100-single", what: "100 subscribers, one publication at a time", run: fan{subs: 100, window: 1}.run},
	{name: "fan-100-sensor", what: "100 subscribers, a reading of 256 bytes", run: fan{subs: 100, window: 16, payload: sensor(256)}.run},
	{name: "fan-100-mixed", what: "the same, subscribers with json, msgpack and cbor", peers: true,
		run: fan{subs: 100, window: 16, payload: sensor(256), mixed: true}.run},
	{name: "fan-10-16k", what: "10 subscribers, 16 KiB, 4 in flight", run: fan{subs: 10, window: 4, payload: text(16 << 10)}.run},
	{name: "fan-10-1m", what: "10 subscribers, 1 MiB, one at a time", run: fan{subs: 10, window: 1, payload: text(1 << 20)}.run},
	{name: "fan-10-1k", what: "10 subscribers, 1 KiB, 16 in flight", fresh: true, run: fan{subs: 10, window: 16, payload: text(1 << 10)}.run},
	{name: "fan-10-1k-stopped", what: "the same, and an eleventh that does not read", fresh: true, peers: true,
		run: fan{subs: 10, window: 16, payload: text(1 << 10), stopped: true}.run},
	{name: "fanin-1000", what: "1000 sensors, 1 topic, 1 subscriber, 64 in flight", run: fan{pubs: 1000, subs: 1, window: 64, match: "exact"}.run},
	{name: "fanin-1000-prefix", what: "1000 topics, prefix subscription", peers: true, run: fan{pubs: 1000, subs: 1, window: 64, match: "prefix"}.run},
	{name: "fanin-1000-wildcard", what: "1000 topics, wildcard subscription", peers: true, run: fan{pubs: 1000, subs: 1, window: 64, match: "wildcard"}.run},
	{name: "table-empty", what: "1 subscriber, 16 publications in flight", fresh: true, peers: true, run: fan{subs: 1, window: 16}.run},
	{name: "table-exact", what: "the same beside 20,000 other topics", fresh: true, peers: true, run: fan{subs: 1, window: 16, others: exactTopics}.run},
	{name: "table-patterns", what: "the same beside 10,000 prefixes and 10,000 wildcards", fresh: true, long: true, peers: true, run: fan{subs: 1, window: 16, others: patterns}.run},
	{name: "links-rpc-64", what: "as rpc-64 with 2 KiB, plain, by TLS and compressed", links: allLinks, run: calls(8, 2, 8, 2<<10)},
	{name: "links-fan-10", what: "10 subscribers, a reading of 2 KiB, 16 in flight, the same", links: allLinks, run: fan{subs: 10, window: 16, payload: sensor(2 << 10)}.run},
	{name: "idle-1000", what: "1000 sessions that join and do nothing", fresh: true, run: idle(1000)},
	{name: "idle-5000", what: "5000 of them", fresh: true, extra: true, run: idle(5000)},
}

// allLinks are plain ones, the same by TLS (wss, rss), and with compression (wsz).
const allLinks = "ws-json,wss-json,wsz-json,rs-cbor,rss-cbor"

const ring = 1 << 12 // messages in flight, at most

// calls is remote procedure calls: callers in turn use the callees' procedures.
func calls(callers, callees, flight, size int) func(*run) (*figures, error) {
	return func(r *run) (*figures, error) {
		base := r.name
		procedure := func(i int) string { return fmt.Sprintf("bench.%s.proc%d", base, i%callees) }
		for i := range callees {
			r.name = procedure(i) // a relay sends what comes under this name here
			cs, err := r.joinAll(1, "callee", r.link)
			if err != nil {
				return nil, err
			}
			if err := r.ask(cs, func(c *conn) []*template { return []*template{newTemplate(c.format, 64, dict{}, procedure(i))} }); err != nil {
				return nil, err
			}
			kind := 70
			if r.router.relay {
				kind = 50
			}
			c, yield := cs[0], newTemplate(r.link.format, kind, dict{}, text(size))
			c.message = func(_, id uint64, _ []byte) { c.send(yield, id, 0) }
		}
		t := &traffic{}
		var waiting int64
		t.waiting = func() int64 { return waiting }
		for i := range callers {
			r.name = procedure(i)
			cs, err := r.joinAll(1, "caller", r.link)
			if err != nil {
				return nil, err
			}
			c, call := cs[0], newTemplate(r.link.format, 48, dict{}, procedure(i), text(size))
			var sent [ring]time.Time
			send := func() {
				sent[c.request(call, 0)%ring] = r.now
				waiting++
			}
			c.message = func(kind, id uint64, b []byte) {
				if kind != 50 || id > c.lastID {
					c.fail(fmt.Errorf("expected a RESULT, got %q", b[:min(len(b), 100)]))
				}
				t.latency.record(r.now.Sub(sent[id%ring]))
				t.count++
				waiting--
				if !t.stopped {
					send()
				}
			}
			for range flight {
				send()
			}
		}
		return r.measure(t)
	}
}

// fan is publications from one or many to one or many.
type fan struct {
	pubs    int // 0 means 1
	subs    int
	window  int // publications in flight
	payload list
	mixed   bool   // subscribers with all serializers
	stopped bool   // one more, that does not read
	match   string // each publisher has its own topic unless this is exact or ""
	others  func(i int) (match, topic string)
}

// exactTopics are topics that nobody publishes to.
func exactTopics(i int) (match, topic string) {
	return "exact", fmt.Sprintf("bench.other%d.point.dev%d.value", i/100, i%100)
}

// patterns are patterns of what nobody publishes.
func patterns(i int) (match, topic string) {
	if i%2 == 0 {
		return "prefix", fmt.Sprintf("bench.other%d.point.dev%d.", i/100, i%100)
	}
	return "wildcard", fmt.Sprintf("bench..point.dev%d.value", i)
}

const (
	otherTopics = 20_000
	otherConns  = 4 // that share them: each session has a limit
)

// publication is what is known of one in flight.
type publication struct {
	seq  uint64
	left int // events that have not come
	late int // of those, the ones that are not waited for any more
	sent time.Time
}

func (s fan) run(r *run) (*figures, error) {
	if s.payload == nil {
		s.payload = text(128)
	}
	topic := func(int) string { return "bench." + r.name + ".point.value" }
	pattern := topic(0)
	switch s.match {
	case "":
		s.match = "exact"
	case "prefix":
		topic = func(i int) string { return fmt.Sprintf("bench.%s.point.dev%d.value", r.name, i) }
		pattern = "bench." + r.name + ".point."
	case "wildcard":
		topic = func(i int) string { return fmt.Sprintf("bench.%s.point.dev%d.value", r.name, i) }
		pattern = "bench." + r.name + ".point..value"
	}
	if s.others != nil {
		cs, err := r.joinAll(otherConns, "idle", r.link)
		if err != nil {
			return nil, err
		}
		for i, c := range cs {
			err := r.ask(cs[i:i+1], func(*conn) (ts []*template) {
				for j := i; j < otherTopics; j += otherConns {
					match, topic := s.others(j)
					ts = append(ts, newTemplate(c.format, 32, matching(match), topic))
				}
				return ts
			})
			if err != nil {
				return nil, err
			}
		}
	}
	links := []*link{r.link}
	if s.mixed {
		links = nil
		for _, name := range []string{"json", "msgpack", "cbor"} {
			links = append(links, &link{raw: r.link.raw, format: formatNames[name]})
		}
	}
	subs, err := r.joinAll(s.subs, "sub", links...)
	if err == nil {
		err = r.subscribe(subs, s.match, pattern)
	}
	if err == nil && s.stopped {
		err = r.addStopped(pattern)
	}
	if err != nil {
		return nil, err
	}
	pubs, err := r.joinAll(max(s.pubs, 1), "pub", r.link)
	if err != nil {
		return nil, err
	}
	return r.measure(s.start(r, pubs, subs, topic))
}

// addStopped adds a subscriber that does not read.
func (r *run) addStopped(topic string) error {
	joined := false
	c, err := r.join(r.link, "sub", 64<<10, func() { joined = true })
	if err == nil {
		err = r.run(setupLimit, "join", func() bool { return joined })
	}
	if err == nil {
		err = r.subscribe([]*conn{c}, "exact", topic)
	}
	if err == nil {
		err = c.stop()
	}
	return err
}

// start begins to publish, and keeps as many publications in flight as it should.
func (s fan) start(r *run, pubs, subs []*conn, topic func(int) string) *traffic {
	t := &traffic{}
	var flying [ring]publication
	var seq, inFlight uint64
	for _, c := range subs {
		fromEnd := markFromEnd(c.format, s.payload)
		c.message = func(_, _ uint64, b []byte) {
			if len(b) < fromEnd+1 || b[len(b)-fromEnd-1] != markLetter {
				c.fail(fmt.Errorf("expected an event, got %q", b[:min(len(b), 200)]))
				return
			}
			n := readHex(b[len(b)-fromEnd:])
			p := &flying[n%ring]
			switch {
			case p.seq != n && n < seq && t.lost > 0:
				t.lost-- // long after it was given up
				return
			case p.seq == n && p.late > 0:
				p.late--
				t.lost--
				return
			case p.seq != n || p.left == 0:
				c.fail(fmt.Errorf("event %d came once too often, the last one is %d", n, seq))
				return
			}
			t.count++
			t.latency.record(r.now.Sub(p.sent))
			if p.left--; p.left == 0 {
				inFlight--
			}
		}
	}
	msgs := make([]*template, len(pubs))
	for i, c := range pubs {
		msgs[i] = newTemplate(c.format, 16, dict{}, topic(i), s.payload)
		msgs[i].mark = markFromEnd(c.format, s.payload)
	}
	publish := func() {
		for !t.stopped && inFlight < uint64(s.window) {
			// One publication may be overtaken by thousands: the thread that handles it
			// may have to wait for a CPU.
			for seq++; flying[seq%ring].left > 0; seq++ {
			}
			i := int(seq) % len(pubs)
			flying[seq%ring] = publication{seq: seq, left: len(subs), sent: r.now}
			inFlight++
			pubs[i].request(msgs[i], seq)
		}
	}
	t.waiting = func() (n int64) {
		if inFlight == 0 {
			return 0
		}
		for i := range flying {
			n += int64(flying[i].left)
		}
		return n
	}
	r.after = func() {
		if !t.stopped && inFlight > 0 && t.stuck(r.now) {
			// What has not come by now is lost; the rest of the measurement goes on.
			t.lost += t.waiting()
			for i := range flying {
				flying[i].late, flying[i].left = flying[i].left, 0
			}
			inFlight = 0
			t.lastMove = r.now
		}
		publish()
	}
	publish()
	return t
}

// idle is sessions that join and then do nothing.
func idle(n int) func(*run) (*figures, error) {
	return func(r *run) (*figures, error) {
		// What a router allocates once is not the sessions'.
		if _, err := r.joinAll(16, "idle", r.link); err != nil {
			return nil, err
		}
		settle := func() error {
			end := time.Now().Add(max(r.duration, 200*time.Millisecond))
			return r.run(time.Minute, "settle", func() bool { return r.now.After(end) })
		}
		if err := settle(); err != nil {
			return nil, err
		}
		rss, cpu, own, begin := r.router.rss(), r.router.cpu(), ownCPU(), time.Now()
		if _, err := r.joinAll(n, "idle", r.link); err != nil {
			return nil, err
		}
		took := time.Since(begin)
		f := &figures{
			Messages: uint64(n), Rate: float64(n) / took.Seconds(),
			CPU: micros(r.router.cpu()-cpu) / float64(n), Generator: micros(ownCPU()-own) / float64(n),
		}
		if err := settle(); err != nil {
			return nil, err
		}
		f.Session = float64(r.router.rss()-rss) / 1024 / float64(n)
		f.RSS = float64(r.router.rss()) / (1 << 20)
		return f, nil
	}
}

// choose returns the scenarios whose names match one of the patterns.
func choose(names string) (chosen []scenario) {
	for _, s := range scenarios {
		if names == "" && !s.extra {
			chosen = append(chosen, s)
			continue
		}
		for name := range strings.SplitSeq(names, ",") {
			if ok, err := path.Match(name, s.name); ok && err == nil {
				chosen = append(chosen, s)
				break
			}
		}
	}
	return chosen
}
