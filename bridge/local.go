package bridge

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gantry/wamp"
	"gantry/wamp/client"
)

// Local applies rules to the messages of MQTT clients that are connected to the
// gateway's own listener: it subscribes in the realm to the URIs of their topics,
// and publishes commands there. It is a component: it needs nothing but a session.
//
// What it publishes itself, and everything below gantry/, is not looked at.
type Local struct {
	rules  *Rules
	caller *Caller
	sess   wamp.Session
	holder *Holder
}

// NewLocal validates cfg and starts nothing. A nil log discards. The error is a
// *ConfigError.
func NewLocal(cfg RulesConfig, origin *Origin, sess wamp.Session, log *slog.Logger) (*Local, error) {
	rules, err := NewRules(cfg, origin, log)
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l := &Local{rules: rules, sess: sess, holder: NewHolder(sess, log)}
	l.caller = rules.NewCaller(sess, l.publish)
	return l, nil
}

// Stats returns the counts of the rules.
func (l *Local) Stats() RulesStats { return l.rules.Stats() }

// Ready is closed once Run has subscribed and registered: no message is missed from
// then on.
func (l *Local) Ready() <-chan struct{} { return l.holder.Tried() }

// Run subscribes and registers, and serves until ctx ends; then it takes both back
// and returns nil. It returns an error if the session ends before.
func (l *Local) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	patterns := l.patterns()
	for i, p := range patterns {
		l.holder.Subscribe(p.URI, wamp.SubscribeOptions{Match: p.Match, GetRetained: true}, func(ev *wamp.Event) {
			l.event(ctx, patterns[:i], p.URI, ev)
		})
	}
	for uri, handler := range l.rules.Handlers(l.publish) {
		l.holder.Register(uri, handler)
	}
	var active sync.WaitGroup
	defer active.Wait()
	defer cancel()
	active.Go(func() { _ = l.caller.Run(ctx) }) // always nil
	return l.holder.Run(ctx)
}

// patterns returns what the rules need, each pattern once.
func (l *Local) patterns() []Pattern {
	var out []Pattern
	add := func(f Filter) {
		for _, p := range f.Patterns() {
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	for _, m := range l.rules.maps {
		add(m.topic.filter)
	}
	for _, c := range l.rules.commands {
		if c.response != nil {
			add(c.response.levels.filter)
		}
	}
	for _, c := range l.rules.calls {
		add(c.topic.filter)
	}
	return out
}

// event applies the rules to an event, unless one of the patterns before, which
// is subscribed to as well, brings it too.
func (l *Local) event(ctx context.Context, before []Pattern, uri wamp.URI, ev *wamp.Event) {
	if ev.Details.Topic != "" {
		uri = ev.Details.Topic
	}
	if strings.HasPrefix(string(uri), "gantry.") {
		return
	}
	for _, p := range before {
		if p.URI.Matches(p.Match, uri) {
			return
		}
	}
	topic, _ := TopicFromURI(uri)
	payload, fresh, err := PlainMessage(ev.Payload, l.rules.origin.cfg.Now())
	if !fresh {
		l.rules.stats.stale.Add(1)
		l.rules.reject("an MQTT message has expired", "", topic)
		return
	}
	if err != nil {
		payload = nil // the readings say that there was nothing to read
	}
	m := Message{Topic: topic, Payload: payload, Retained: ev.Details.Retained}
	l.rules.Answer(m)
	l.caller.Take(m)
	l.rules.Readings(m, func(topic wamp.URI, p wamp.Payload) {
		if err := l.sess.Publish(ctx, topic, wamp.PublishOptions{Retain: true}, p); err != nil {
			l.rules.stats.dropped.Add(1)
			l.rules.reject("a reading is dropped, as the realm has not taken it", "", m.Topic, "reading", string(topic), "error", err)
		}
	})
}

// publish sends a command to the clients of the listener.
func (l *Local) publish(ctx context.Context, m Message) error {
	opts := wamp.PublishOptions{Acknowledge: true, Retain: m.Retained && len(m.Payload) > 0, Unretain: m.Retained && len(m.Payload) == 0}
	p, ppt := Publication(m.Payload, nil)
	opts.Passthru = ppt
	return l.sess.Publish(ctx, URIFromTopic(m.Topic), opts, p)
}

// Holder keeps subscriptions and registrations of a session for as long as it
// runs: what the router refuses is tried again, since it may still belong to a
// session that is about to be found dead.
type Holder struct {
	sess  wamp.Session
	log   *slog.Logger
	tasks []holding
	tried chan struct{}
	left  atomic.Int64 // tasks that have not been tried
}

type holding struct {
	what string
	uri  wamp.URI
	take func(ctx context.Context) (undo func(context.Context) error, err error)
}

// NewHolder returns a holder of nothing.
func NewHolder(sess wamp.Session, log *slog.Logger) *Holder {
	return &Holder{sess: sess, log: log, tried: make(chan struct{})}
}

// Tried is closed once Run has tried everything: what the router has not refused is
// there from then on.
func (h *Holder) Tried() <-chan struct{} { return h.tried }

// Subscribe adds a subscription. It is made by Run.
func (h *Holder) Subscribe(uri wamp.URI, opts wamp.SubscribeOptions, f wamp.EventHandler) {
	h.tasks = append(h.tasks, holding{"subscription", uri, func(ctx context.Context) (func(context.Context) error, error) {
		return h.sess.Subscribe(ctx, uri, opts, f)
	}})
}

// Register adds a registration. It is made by Run.
func (h *Holder) Register(uri wamp.URI, f wamp.InvocationHandler) {
	h.tasks = append(h.tasks, holding{"registration", uri, func(ctx context.Context) (func(context.Context) error, error) {
		return h.sess.Register(ctx, uri, wamp.RegisterOptions{}, f)
	}})
}

// Run takes everything and holds it until ctx ends; then it gives everything back
// and returns nil. If the session ends before, it returns wamp.ErrClosed.
func (h *Holder) Run(ctx context.Context) error {
	var active sync.WaitGroup
	defer active.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if h.left.Store(int64(len(h.tasks))); len(h.tasks) == 0 {
		close(h.tried)
	}
	for _, t := range h.tasks {
		active.Go(func() { h.hold(ctx, t) })
	}
	select {
	case <-ctx.Done():
		return nil
	case <-h.sess.Done():
		if ctx.Err() != nil {
			return nil
		}
		return wamp.ErrClosed
	}
}

// giveBack is how long the router gets to answer when something is given back.
const giveBack = time.Second

func (h *Holder) hold(ctx context.Context, t holding) {
	var undo func(context.Context) error
	refused := false
	tried := sync.OnceFunc(func() {
		if h.left.Add(-1) == 0 {
			close(h.tried)
		}
	})
	take := func(ctx context.Context) (err error) {
		undo, err = t.take(ctx)
		tried()
		return err
	}
	if err := client.Insist(ctx, take, func(err error) {
		refused = true
		h.log.Warn("bridge is not served yet", "what", t.what, "uri", string(t.uri), "error", err)
	}); err != nil {
		return
	}
	if refused {
		h.log.Info("bridge is served again", "what", t.what, "uri", string(t.uri))
	}
	<-ctx.Done()
	select {
	case <-h.sess.Done():
		return
	default:
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBack)
	defer cancel()
	if err := undo(late); err != nil && !errors.Is(err, wamp.ErrClosed) {
		h.log.Debug("not given back", "what", t.what, "uri", string(t.uri), "error", err)
	}
}
