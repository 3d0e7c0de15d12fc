package fleet

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"gantry/bridge"
	"gantry/wamp"
	"gantry/wamp/client"
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

// Fleet keeps a View of the gateways in a realm. It is a component on a session, which
// must be lossless: what is dropped on the way to it would be a gap.
type Fleet struct {
	hub   string
	sess  wamp.Session
	table Table
	now   func() time.Time
	log   *slog.Logger
	ready chan struct{} // closed when no event is missed any more

	mu   sync.Mutex // guards view
	view *View
}

// New reads the marks of the hub with that name and starts nothing. A nil log discards.
func New(hub string, sess wamp.Session, table Table, now func() time.Time, log *slog.Logger) (*Fleet, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &Fleet{hub: hub, sess: sess, table: table, now: now, log: log, ready: make(chan struct{}), view: NewView()}
	return f, table.Each(func(key, value []byte) error {
		topic := string(key)
		gateway, ok := gatewayOf(topic)
		if ok {
			if err := f.view.Restore(gateway, topic, value); err == nil {
				return nil
			}
		}
		f.log.Warn("mark of a stream is damaged and left out", "topic", topic)
		return nil
	})
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

// Run watches and serves until ctx ends; then it saves the marks and returns nil. It
// returns an error if the session ends before, or refuses.
func (f *Fleet) Run(ctx context.Context) error {
	if _, err := f.sess.Subscribe(ctx, "gantry.", wamp.SubscribeOptions{Match: wamp.MatchPrefix}, func(ev *wamp.Event) { f.note(ctx, ev) }); err != nil {
		return err
	}
	prefix := wamp.URI("gantry." + f.hub + ".sys.fleet.")
	if _, err := client.Register(ctx, f.sess, prefix+"list", func(context.Context, struct{}) (wamp.List, error) { return f.list(), nil }); err != nil {
		return err
	}
	if _, err := client.Register(ctx, f.sess, prefix+"gaps", func(context.Context, struct{}) (wamp.List, error) { return f.gaps(), nil }); err != nil {
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
			f.save(late)
			return nil
		case <-f.sess.Done():
			return wamp.ErrClosed
		case <-tick.C:
			f.save(ctx)
		}
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
		f.log.Warn("marks of streams not saved; trying again", "error", err)
		f.mu.Lock()
		f.view.Spoil(rows)
		f.mu.Unlock()
	}
}

// note notes an event of another gateway.
func (f *Fleet) note(ctx context.Context, ev *wamp.Event) {
	topic := string(ev.Details.Topic)
	gateway, ok := gatewayOf(topic)
	if !ok || len(topic) > maxTopic || gateway == f.hub || ev.Details.Retained {
		return
	}
	_, kwargs, err := serialize.Values(ev.Payload)
	if err != nil {
		return
	}
	number := func(key string) int64 { n, _ := kwargs[key].(int64); return max(n, 0) }
	e := Event{Gateway: strings.Clone(gateway), Topic: strings.Clone(topic), Epoch: uint64(number("ep")), Seq: uint64(number("seq")), Measured: number("ts")}
	e.Replay, _ = kwargs["replay"].(bool)
	f.mu.Lock()
	gap, found := f.view.Note(e, f.now().UnixMicro())
	f.mu.Unlock()
	if !found {
		return
	}
	f.log.Warn("events of a gateway are missing", "topic", gap.Topic, "epoch", gap.Epoch, "from", gap.From, "to", gap.To, "uncertain", gap.Uncertain)
	if err := f.sess.Publish(ctx, wamp.URI("gantry."+f.hub+".sys.fleet.gap"), wamp.PublishOptions{}, wamp.Args(gap.dict())); err != nil && ctx.Err() == nil {
		f.log.Warn("gap not published", "error", err)
	}
}

func (g *Gap) dict() wamp.Dict {
	return wamp.Dict{"topic": g.Topic, "ep": int64(g.Epoch), "from": int64(g.From), "to": int64(g.To), "at": g.At, "uncertain": g.Uncertain}
}

func (f *Fleet) list() wamp.List {
	out := wamp.List{}
	for _, g := range f.Gateways() {
		out = append(out, wamp.Dict{
			"gateway": g.Name, "seen": g.Seen, "newest": g.Newest, "replay": g.Replay, "events": int64(g.Events),
			"streams": int64(g.Streams), "missing": int64(g.Missing), "doubles": int64(g.Doubles),
		})
	}
	return out
}

func (f *Fleet) gaps() wamp.List {
	f.mu.Lock()
	all := f.view.Gaps()
	f.mu.Unlock()
	out := make(wamp.List, len(all))
	for i := range all {
		out[i] = all[i].dict()
	}
	return out
}
