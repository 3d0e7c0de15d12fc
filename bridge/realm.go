package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gantry/internal/ratelog"
	"gantry/wamp"
)

// Realm joins a guest to the gateway's own MQTT listener, whose clients' messages are
// events of a realm. It is a component: it needs nothing but a session.
type Realm struct {
	guest Guest
	sess  wamp.Session
	log   *slog.Logger
	rare  *ratelog.Log
	turn  chan struct{} // one slot: subscriptions change one after the other
	ready chan struct{} // closed once the guest is connected

	expired, unmappable atomic.Uint64

	mu   sync.Mutex // guards held
	held map[Pattern]func(context.Context) error
}

var _ Carrier = (*Realm)(nil)

// NewRealm starts nothing. A nil log discards.
func NewRealm(guest Guest, sess wamp.Session, log *slog.Logger) *Realm {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Realm{guest: guest, sess: sess, log: log, rare: ratelog.New(log, rejectEvery, nil), turn: make(chan struct{}, 1), ready: make(chan struct{}), held: map[Pattern]func(context.Context) error{}}
}

// Ready is closed once the guest gets all messages that it wants.
func (r *Realm) Ready() <-chan struct{} { return r.ready }

// Run serves until ctx ends; then it returns nil. It may be called once. It returns wamp.ErrClosed if the
// session ends before.
func (r *Realm) Run(ctx context.Context) error {
	if err := r.Subscribe(ctx, r.guest.Filters()); err != nil && ctx.Err() == nil {
		return fmt.Errorf("guest of the MQTT listener: %w", err)
	}
	r.guest.Connected(r)
	close(r.ready)
	defer r.guest.Lost("the gateway ends")
	select {
	case <-ctx.Done():
		return nil
	case <-r.sess.Done():
		return wamp.ErrClosed
	}
}

// RealmStats count the messages of the listener that a guest does not get.
type RealmStats struct {
	Expired    uint64
	Unmappable uint64 // events that MQTT has no payload for
}

// Stats returns the counts.
func (r *Realm) Stats() RealmStats { return RealmStats{r.expired.Load(), r.unmappable.Load()} }

// Send implements Carrier.
func (r *Realm) Send(ctx context.Context, m Message) error {
	opts := wamp.PublishOptions{Acknowledge: true, Retain: m.Retained && len(m.Payload) > 0, Unretain: m.Retained && len(m.Payload) == 0}
	p, ppt := Publication(m.Payload, nil)
	opts.Passthru = ppt
	return r.sess.Publish(ctx, URIFromTopic(m.Topic), opts, p)
}

// Subscribe implements Carrier.
func (r *Realm) Subscribe(ctx context.Context, filters []string) error {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	want := map[Pattern]bool{}
	for _, s := range filters {
		f, err := ParseFilter(s)
		if err != nil {
			continue
		}
		for _, p := range f.Patterns() {
			want[p] = true
		}
	}
	r.mu.Lock()
	var fresh []Pattern
	var gone []func(context.Context) error
	for p := range want {
		if r.held[p] == nil {
			fresh = append(fresh, p)
		}
	}
	for p, undo := range r.held {
		if !want[p] {
			gone = append(gone, undo)
			delete(r.held, p)
		}
	}
	r.mu.Unlock()
	for _, undo := range gone {
		if err := undo(ctx); err != nil {
			return err
		}
	}
	for _, p := range fresh {
		r.mu.Lock()
		r.held[p] = func(context.Context) error { return nil } // events may come before the answer
		r.mu.Unlock()
		undo, err := r.sess.Subscribe(ctx, p.URI, wamp.SubscribeOptions{Match: p.Match, GetRetained: true}, func(ev *wamp.Event) { r.event(p, ev) })
		r.mu.Lock()
		r.held[p] = undo
		if err != nil {
			delete(r.held, p)
		}
		r.mu.Unlock()
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", p.URI, err)
		}
	}
	return nil
}

// event gives an event to the host, unless another pattern that comes first brings
// it too.
func (r *Realm) event(p Pattern, ev *wamp.Event) {
	uri := p.URI
	if ev.Details.Topic != "" {
		uri = ev.Details.Topic
	}
	if strings.HasPrefix(string(uri), "gantry.") {
		return
	}
	r.mu.Lock()
	first := true
	for o := range r.held {
		if before(o, p) && o.URI.Matches(o.Match, uri) {
			first = false
		}
	}
	r.mu.Unlock()
	if !first && !ev.Details.Retained { // what is retained comes once, for the newest subscription
		return
	}
	topic, _ := TopicFromURI(uri)
	payload, fresh, err := PlainMessage(ev.Payload, time.Now())
	switch {
	case !fresh:
		r.expired.Add(1)
		r.rare.Info("an MQTT message has expired", "topic", topic)
		return
	case err != nil:
		r.unmappable.Add(1)
		r.rare.Info("an event is not looked at, as no MQTT message can carry it", "topic", topic, "error", err)
		return
	}
	r.guest.Receive(Message{Topic: topic, Payload: payload, Retained: ev.Details.Retained})
}

func before(a, b Pattern) bool {
	return a.URI < b.URI || a.URI == b.URI && a.Match < b.Match
}
