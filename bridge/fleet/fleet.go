package fleet

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"gantry/bridge"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

// saveEvery is how often the marks are brought to disk: what has come since the last
// time before a crash is reported as an uncertain gap.
const saveEvery = 5 * time.Second

// maxTopic is the longest topic in bytes that counts as a stream.
const maxTopic = 512

// Table keeps what must survive a restart.
type Table interface {
	// Each calls fn for every entry until it fails. The slices are lent.
	Each(fn func(key, value []byte) error) error
	// Apply makes all the changes, or none, and returns once they are on disk.
	Apply(ctx context.Context, changes map[string][]byte) error
}

// maxState bounds the names of gateways whose connection is a state of the hub's: the
// device fleet_<name> has a name of 64 bytes at most.
const maxState = 64 - len("fleet_")

// Fleet keeps a View of the gateways in a realm. It is a component on a session, which
// must be lossless: what is dropped on the way to it would be a gap.
type Fleet struct {
	origin *bridge.Origin // of the hub
	sess   wamp.Session
	table  Table
	now    func() time.Time
	log    *slog.Logger
	ready  chan struct{} // closed when no event is missed any more

	mu   sync.Mutex // guards view
	view *View
}

// New reads what the hub has saved and starts nothing. A nil log discards.
func New(origin *bridge.Origin, sess wamp.Session, table Table, now func() time.Time, log *slog.Logger) (*Fleet, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &Fleet{origin: origin, sess: sess, table: table, now: now, log: log, ready: make(chan struct{}), view: NewView()}
	err := table.Each(func(key, value []byte) error {
		if err := f.view.Restore(string(key), value); err != nil {
			f.log.Warn("a row of the fleet view is damaged and left out", "row", strings.ReplaceAll(string(key), "\x00", " "))
		}
		return nil
	})
	f.view.Begin(now().UnixMicro())
	return f, err
}

// gatewayOf returns whose topic it is.
func gatewayOf(topic string) (string, bool) {
	p := strings.SplitN(topic, ".", 3)
	return p[min(1, len(p)-1)], len(p) == 3 && p[0] == "gantry" && bridge.ValidName(p[1])
}

// Ready is closed once the view misses no event any more.
func (f *Fleet) Ready() <-chan struct{} { return f.ready }

// Gateways returns all gateways by name.
func (f *Fleet) Gateways() []Gateway {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.view.Gateways()
}

// Run watches and serves until ctx ends; then it saves and returns nil. It returns an
// error if the session ends before, or refuses.
func (f *Fleet) Run(ctx context.Context) error {
	for _, g := range f.Gateways() {
		f.tell(ctx, &g, "not seen since the start of the hub")
	}
	// Sessions are watched first: one that ends in between is never taken for connected.
	if _, err := f.sess.Subscribe(ctx, "wamp.session.on_leave", wamp.SubscribeOptions{}, func(ev *wamp.Event) { f.left(ctx, ev) }); err != nil {
		return err
	}
	if _, err := f.sess.Subscribe(ctx, "gantry.", wamp.SubscribeOptions{Match: wamp.MatchPrefix}, func(ev *wamp.Event) { f.note(ctx, ev) }); err != nil {
		return err
	}
	if err := f.serve(ctx); err != nil {
		return err
	}
	close(f.ready)
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			f.save(late) // should the rest take too long
			f.catchUp(late)
			f.save(late)
			return nil
		case <-f.sess.Done():
			return wamp.ErrClosed
		case <-tick.C:
			f.save(ctx)
		}
	}
}

// catchUp returns once what has been routed is in the view: the answer to a publication
// comes behind the events that are on their way.
func (f *Fleet) catchUp(ctx context.Context) {
	if err := f.sess.Publish(ctx, f.procedure("saved"), wamp.PublishOptions{Acknowledge: true}, wamp.Payload{}); err != nil {
		f.log.Warn("the last events may be missing in the fleet view", "error", err)
	}
}

func (f *Fleet) save(ctx context.Context) {
	f.mu.Lock()
	rows := f.view.Unsaved()
	f.mu.Unlock()
	if len(rows) == 0 {
		return
	}
	if err := f.table.Apply(ctx, rows); err != nil {
		f.log.Warn("fleet view not saved; trying again", "error", err)
		f.mu.Lock()
		f.view.Spoil(rows)
		f.mu.Unlock()
	}
}

// note notes an event of another gateway.
func (f *Fleet) note(ctx context.Context, ev *wamp.Event) {
	topic := string(ev.Details.Topic)
	gateway, ok := gatewayOf(topic)
	if !ok || len(topic) > maxTopic || gateway == f.origin.Gateway() || ev.Details.Retained {
		return
	}
	args, kwargs, err := serialize.Values(ev.Payload)
	if err != nil {
		return
	}
	number := func(key string) int64 { n, _ := kwargs[key].(int64); return max(n, 0) }
	e := Event{
		Gateway: strings.Clone(gateway), Topic: strings.Clone(topic), Session: ev.Details.From,
		Epoch: uint64(number("ep")), Seq: uint64(number("seq")), Measured: number("ts"),
	}
	e.Replay, _ = kwargs["replay"].(bool)
	at := f.now().UnixMicro()
	f.mu.Lock()
	news := f.view.Note(e, at)
	switch class, device, name := parts(e.Topic); {
	case class == "state" && name == "queue" && strings.HasPrefix(device, "uplink_") && len(args) == 1:
		if depth, ok := args[0].(int64); ok && depth >= 0 {
			age := int64(-1)
			if ms, ok := kwargs["age_ms"].(int64); ok && ms >= 0 && ms < 1<<50 {
				age = ms * 1000
			}
			f.view.Queue(e.Gateway, depth, age)
		}
	case class == "alarm" && (name == "gap" || name == "gap_urgent") && strings.HasPrefix(device, "uplink_"):
		news.Gap = f.view.Lost(e.Gateway, e.Topic, uint64(number("from")), uint64(number("to")), kwargs["why"] == "crash", at)
	case class == "alarm" && len(args) > 0:
		state, _ := args[0].(string)
		f.view.Alarm(e.Gateway, Alarm{Topic: e.Topic, State: strings.Clone(state), At: at, Measured: e.Measured})
	}
	f.mu.Unlock()
	f.report(ctx, news)
}

// parts takes gantry.<gw>.<class>.<device>.<name> apart; class is empty for others.
func parts(topic string) (class, device, name string) {
	p := strings.Split(topic, ".")
	if len(p) != 5 {
		return "", "", ""
	}
	return p[2], p[3], p[4]
}

// report tells what an event has shown.
func (f *Fleet) report(ctx context.Context, news News) {
	if news.Online != nil {
		f.tell(ctx, news.Online, "")
	}
	if g := news.Gap; g != nil {
		f.log.Warn("events of a gateway are missing", "topic", g.Topic, "kind", g.Kind, "epoch", g.Epoch, "from", g.From, "to", g.To, "uncertain", g.Uncertain)
		f.publish(ctx, f.procedure("gap"), wamp.PublishOptions{}, wamp.Args(g.dict()))
	}
	if g := news.Filled; g != nil {
		f.publish(ctx, f.procedure("filled"), wamp.PublishOptions{}, wamp.Args(g.dict()))
	}
}

// left notes that a session has ended.
func (f *Fleet) left(ctx context.Context, ev *wamp.Event) {
	var id int64
	if serialize.Arg(ev.Payload, 0, &id) != nil {
		return
	}
	f.mu.Lock()
	offline := f.view.Left(wamp.ID(id), f.now().UnixMicro())
	f.mu.Unlock()
	for i := range offline {
		f.tell(ctx, &offline[i], "its session has ended")
	}
}

// tell publishes the state of a gateway's connection as that of the hub's device
// fleet_<gateway>.
func (f *Fleet) tell(ctx context.Context, g *Gateway, reason string) {
	if len(g.Name) > maxState {
		return
	}
	topic := f.origin.URI("state", "fleet_"+g.Name, "link")
	kwargs, ok := f.origin.Stamp(topic)
	if !ok {
		kwargs = wamp.Dict{}
	}
	kwargs["since"] = g.Since
	state := bridge.Online
	if !g.Connected {
		state = bridge.Offline
		kwargs["reason"] = reason
	}
	f.log.Info("a gateway's connection has changed", "gateway", g.Name, "state", state, "reason", reason)
	f.publish(ctx, topic, wamp.PublishOptions{Retain: true}, wamp.Values(wamp.List{state}, kwargs))
}

func (f *Fleet) publish(ctx context.Context, topic wamp.URI, opts wamp.PublishOptions, p wamp.Payload) {
	if err := f.sess.Publish(ctx, topic, opts, p); err != nil && ctx.Err() == nil {
		f.log.Warn("not published", "topic", string(topic), "error", err)
	}
}
