package mqtt

import (
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gantry/bridge"
	"gantry/wamp"
	"gantry/wamp/client"
)

const (
	// passQueue bounds the events that wait to go to the broker.
	passQueue = 1000
	// maxKept bounds the topics whose messages are known to be retained.
	maxKept = 1 << 16
	// maxEchoes and echoTime bound the messages that the broker is expected to send
	// back.
	maxEchoes = 4096
	echoTime  = 10 * time.Second
	// sameAtOnce is how often the same message may go to the broker within a second.
	// More are a loop through other bridges.
	sameAtOnce = 10
)

// passing is what a client knows of the messages that go through it.
type passing struct {
	rules   []passage
	publish []*bridge.Publisher
	seed    maphash.Seed
	guests  atomic.Pointer[[]bridge.Filter] // what they want of the present connection
	echoes  echoes
	loops   loops

	in, out, dropped, echoed atomic.Uint64
}

// filters returns what to subscribe to at the broker.
func (p *passing) filters(more []bridge.FilterQoS) []bridge.FilterQoS {
	for i := range p.rules {
		if r := &p.rules[i]; r.in {
			more = append(more, bridge.FilterQoS{Filter: r.filter, QoS: r.qos})
		}
	}
	return bridge.Disjoint(more)
}

// inbound returns the rule by which a topic goes to the realm, nil for none.
func (p *passing) inbound(topic string) *passage {
	for i := range p.rules {
		if r := &p.rules[i]; r.in && r.filter.Matches(topic) {
			return r
		}
	}
	return nil
}

// returns reports whether what the client sends on a topic comes back to where it
// would go round: to a rule that passes both ways, or to a guest.
func (p *passing) returns(topic string) bool {
	r := p.inbound(topic)
	return r != nil && r.out || p.guested(topic)
}

// guested reports whether a guest takes messages on a topic.
func (p *passing) guested(topic string) bool {
	all := p.guests.Load()
	return all != nil && slices.ContainsFunc(*all, func(f bridge.Filter) bool { return f.Matches(topic) })
}

// echo reports whether the broker sends back a message of the client that must not
// go round.
func (p *passing) echo(m bridge.Message) bool {
	if !p.returns(m.Topic) || !p.echoes.take(p.hash(m.Topic, m.Payload), time.Now()) {
		return false
	}
	p.echoed.Add(1)
	return true
}

func (p *passing) hash(topic string, payload []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(p.seed)
	_, _ = h.WriteString(topic)
	_ = h.WriteByte(0)
	_, _ = h.Write(payload)
	return h.Sum64()
}

// passIn publishes a message in the realm as it is, unless it is an echo of one that
// has passed out. It returns an error if that was not possible before ctx ended.
func (c *Client) passIn(ctx context.Context, kept kept, m bridge.Message, echo bool) error {
	r := c.pass.inbound(m.Topic)
	if r == nil || r.out && echo {
		return nil
	}
	retain := kept.retain(r, c.pass.hash(m.Topic, nil), m.Retained, len(m.Payload) == 0)
	if m.Retained && r.IgnoreRetained {
		c.refuse("a retained message does not pass, as its rule says", m.Topic)
		return nil
	}
	if (m.Queued || m.Again) && r.IgnoreQueued {
		c.refuse("a message does not pass, as the broker may have kept it for a while, and as its rule says", m.Topic)
		return nil
	}
	if procedure(m.Topic) {
		c.refuse("a message does not pass, as its topic is the name of a procedure", m.Topic)
		return nil
	}
	uri, ok := r.target(m.Topic)
	if !ok {
		c.refuse("a message does not pass, as its URI is too long or reserved", m.Topic)
		return nil
	}
	p, ppt := bridge.Publication(m.Payload, nil)
	opts := wamp.PublishOptions{
		Acknowledge: m.QoS > 0, Passthru: ppt,
		Retain: retain && len(m.Payload) > 0, Unretain: retain && len(m.Payload) == 0,
	}
	if len(c.deps.Others) > 0 {
		// A message never goes from one broker to another, so that none goes round.
		opts.Filter = &wamp.PublishFilter{ExcludeAuthID: c.deps.Others}
	}
	err := c.hand(ctx, func() error { return c.sess.Publish(ctx, uri, opts, p) })
	switch {
	case err == nil:
		c.pass.in.Add(1)
		return nil
	case ctx.Err() != nil, errors.Is(err, wamp.ErrClosed):
		return err
	}
	return c.park(ctx, m, err)
}

// refuse counts a message that does not pass, and logs a sample.
func (c *Client) refuse(text, topic string) {
	c.pass.dropped.Add(1)
	c.rare.Often(text, func() []any { return []any{"topic", topic} })
}

// passOut carries events to the broker for as long as the connection lasts. It
// subscribes anew for each, so that the broker gets the last values that it has
// missed. What waits when the connection ends is not sent later.
func (c *Client) passOut(ctx context.Context, x *connection) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	x.tasks.Go(func() {
		select {
		case <-x.done:
			cancel()
		case <-ctx.Done():
		}
	})
	queue := make(chan bridge.Message, passQueue) // filled by the goroutines of both sessions
	known := kept{}                               // owned by that of c.sess
	var undo []func(context.Context) error
	for _, o := range c.outlets(known, queue) {
		opts := wamp.SubscribeOptions{Match: o.Match, GetRetained: o.retained}
		if err := client.Insist(ctx, func(ctx context.Context) error {
			f, err := o.sess.Subscribe(ctx, o.URI, opts, o.event)
			if err == nil {
				undo = append(undo, f)
			}
			return err
		}, func(err error) {
			c.log.Warn("events do not pass yet", "uri", string(o.URI), "error", err)
		}); err != nil {
			break
		}
	}
	c.carry(ctx, x, queue)
	late, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer done()
	for _, f := range undo {
		// The session may be gone, and the subscriptions with it.
		_ = f(late)
	}
}

// outlet is one subscription for all rules that want its events: with one each, every
// one would bring the last values to all of them again.
type outlet struct {
	bridge.Pattern
	sess     wamp.Session
	retained bool // a rule wants the last values
	rules    []func(wamp.URI, *wamp.Event)
}

func (o *outlet) event(ev *wamp.Event) {
	uri := o.URI
	if ev.Details.Topic != "" {
		uri = ev.Details.Topic
	}
	for _, f := range o.rules {
		f(uri, ev)
	}
}

// outlets returns what to subscribe to for the rules.
func (c *Client) outlets(known kept, queue chan<- bridge.Message) (all []*outlet) {
	add := func(s wamp.Session, f bridge.Filter, prefix string, retained bool, rule func(wamp.URI, *wamp.Event)) {
		for _, p := range f.Patterns() {
			p.URI = wamp.URI(prefix) + p.URI
			i := slices.IndexFunc(all, func(o *outlet) bool { return o.sess == s && o.Pattern == p })
			if i < 0 {
				i, all = len(all), append(all, &outlet{Pattern: p, sess: s})
			}
			all[i].retained = all[i].retained || retained
			all[i].rules = append(all[i].rules, rule)
		}
	}
	for i := range c.pass.rules {
		if r := &c.pass.rules[i]; r.out {
			add(c.sess, r.filter, r.Prefix, !r.IgnoreRetained, func(uri wamp.URI, ev *wamp.Event) {
				if !ev.Details.Retained || !r.IgnoreRetained {
					c.leaving(r, known, uri, ev, queue)
				}
			})
		}
	}
	for _, p := range c.pass.publish {
		add(c.deps.Events, p.Events(), "", true, func(uri wamp.URI, ev *wamp.Event) { c.tell(p, uri, ev, queue) })
	}
	return all
}

// leaving makes a message of an event.
func (c *Client) leaving(r *passage, known kept, uri wamp.URI, ev *wamp.Event, queue chan<- bridge.Message) {
	rest, ok := strings.CutPrefix(string(uri), r.Prefix)
	if !ok || strings.HasPrefix(string(uri), "wamp.") {
		return
	}
	topic, _ := bridge.TopicFromURI(wamp.URI(rest))
	if bridge.CheckTopic(topic) != nil || !r.filter.Matches(topic) {
		return // the pattern covers more than the filter
	}
	if procedure(topic) {
		c.refuse("an event does not pass, as its topic is the name of a procedure", topic)
		return
	}
	payload, fresh, err := bridge.PlainMessage(ev.Payload, time.Now())
	if !fresh {
		c.refuse("an event does not pass, as it has expired", topic)
		return
	}
	if err != nil {
		c.refuse("an event does not pass, as no message can carry it", topic)
		return
	}
	m := bridge.Message{Topic: topic, Payload: payload, QoS: r.qos}
	m.Retained = known.retain(r, c.pass.hash(topic, nil), ev.Details.Retained, len(payload) == 0)
	c.enqueue(m, queue)
}

// tell makes a message of an event by a rule publish.
func (c *Client) tell(p *bridge.Publisher, uri wamp.URI, ev *wamp.Event, queue chan<- bridge.Message) {
	topic, _ := bridge.TopicFromURI(uri)
	if !p.Events().Matches(topic) {
		return // the pattern covers more than the filter
	}
	m, why := p.Message(topic, ev.Payload)
	switch {
	case why != "":
		c.refuse("an event is not published: "+why, topic)
	case procedure(m.Topic):
		c.refuse("an event is not published, as its topic is the name of a procedure", topic)
	default:
		c.enqueue(m, queue)
	}
}

func (c *Client) enqueue(m bridge.Message, queue chan<- bridge.Message) {
	select {
	case queue <- m:
	default:
		c.refuse("an event does not pass, as too many wait for the broker", m.Topic)
	}
}

// carry sends messages until ctx ends, as many at a time as may be in flight.
func (c *Client) carry(ctx context.Context, x *connection, queue <-chan bridge.Message) {
	for {
		var m bridge.Message
		select {
		case m = <-queue:
		case <-ctx.Done():
			return
		}
		sum := c.pass.hash(m.Topic, m.Payload)
		if c.pass.loops.often(sum, time.Now()) {
			c.refuse("a message does not pass, as it came by too often in a second: bridges form a loop", m.Topic)
			continue
		}
		if c.pass.returns(m.Topic) {
			c.pass.echoes.add(sum, time.Now())
		}
		token, err := x.start(ctx, m)
		if err != nil {
			return
		}
		x.tasks.Go(func() {
			if x.finish(ctx, token) == nil {
				c.pass.out.Add(1)
			} else {
				c.refuse("a message was not acknowledged by the broker", m.Topic)
			}
		})
	}
}

// kept are the topics, by their hash, whose messages are known to be retained on
// the side that they come from. It has one owner.
type kept map[uint64]bool

// retain reports whether a message is to be retained on the other side. flagged
// tells that it came as a retained one; an empty one ends retention.
func (k kept) retain(r *passage, topic uint64, flagged, empty bool) bool {
	switch r.Retain {
	case "always":
		return true
	case "never":
		return false
	}
	was := k[topic]
	switch {
	case empty:
		delete(k, topic)
	case flagged && len(k) < maxKept:
		k[topic] = true
	}
	return flagged || was
}

// echoes are messages to the broker that it will send back, as the client is
// subscribed to their topics and MQTT 3.1.1 has no way to say no.
type echoes struct {
	mu   sync.Mutex // guards sent
	sent map[uint64]echo
}

type echo struct {
	n  int // how many
	at time.Time
}

func (e *echoes) add(sum uint64, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sent == nil {
		e.sent = map[uint64]echo{}
	}
	if len(e.sent) >= maxEchoes {
		for s, m := range e.sent {
			if now.Sub(m.at) > echoTime {
				delete(e.sent, s)
			}
		}
	}
	if m, known := e.sent[sum]; known || len(e.sent) < maxEchoes {
		e.sent[sum] = echo{m.n + 1, now}
	}
}

// take reports whether a message is one that was sent, and forgets that.
func (e *echoes) take(sum uint64, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	m, known := e.sent[sum]
	if !known {
		return false
	}
	if m.n--; m.n == 0 || now.Sub(m.at) > echoTime {
		delete(e.sent, sum)
	} else {
		e.sent[sum] = m
	}
	return now.Sub(m.at) <= echoTime
}

// loops counts the same messages within a second. It has one owner.
type loops struct {
	from time.Time
	seen map[uint64]int
}

func (l *loops) often(sum uint64, now time.Time) bool {
	if l.seen == nil || now.Sub(l.from) >= time.Second || len(l.seen) >= maxEchoes {
		l.from, l.seen = now, map[uint64]int{}
	}
	l.seen[sum]++
	return l.seen[sum] > sameAtOnce
}
