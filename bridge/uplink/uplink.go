package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"gantry/bridge"
	"gantry/internal/ratelog"
	"gantry/wamp"
)

// Queue is the durable queue between the two sessions. Records are numbered 1,
// 2, 3 ... in the order of Enqueue.
type Queue interface {
	// ID names the queue's data: it is another one when the data was lost. With
	// epoch and sequence number it names a record for ever.
	ID() string
	// Enqueue adds a record, of which it keeps a copy. It may wait for room. An
	// urgent record goes to disk at once, any other when it has not been
	// acknowledged for a while.
	Enqueue(ctx context.Context, record []byte, urgent bool) (seq uint64, err error)
	// Read waits for records behind after and hands at most limit of them to each,
	// in order. lost > 0 stands for that many records up to seq that are gone, and the
	// record is a text that says why.
	// The record may be kept and must not be changed.
	Read(ctx context.Context, after uint64, limit int, each func(epoch, seq uint64, record []byte, lost uint64)) error
	// Ack moves the cursor: records up to seq are done with.
	Ack(ctx context.Context, seq uint64) error
	// Counters returns at least appended (the last number given), committed and
	// acknowledged (the cursor); and crashes and crashes_waiting, where numbers stand for
	// what crashes may have cost: all of them, and those above the cursor.
	Counters() map[string]uint64
}

// DeadLetters takes what the far world refuses for good. Its methods are those of
// Queue.
type DeadLetters interface {
	Read(ctx context.Context, after uint64, limit int, each func(epoch, seq uint64, record []byte, lost uint64)) error
	Ack(ctx context.Context, seq uint64) error
	Enqueue(ctx context.Context, record []byte, urgent bool) (seq uint64, err error)
	Counters() map[string]uint64
}

// Deps are what an uplink works with.
type Deps struct {
	// Origin names the gateway and numbers the events of the uplink itself.
	Origin *bridge.Origin
	// Local is a session in the gateway's own realm, in process and lossless. It
	// should be the uplink's alone: while the queue makes it wait, the session
	// reads nothing, and the router in turn slows the publishers down.
	Local wamp.Session
	// Sink is the far world.
	Sink Sink
	// Queue and Urgent keep the events: Urgent those of the classes of Buffer.Urgent,
	// which go past the others. Without it nothing does. DeadLetters keeps what is
	// refused for good.
	Queue       Queue
	Urgent      Queue
	DeadLetters DeadLetters
	// Source is the uplink that fills the queues of this one, which read the same
	// records with cursors of their own; nil for an uplink that does so itself. It is
	// made first and run, too.
	Source *Uplink
	// Now is the wall clock; nil is time.Now.
	Now func() time.Time
	// Random returns numbers in [0,1), for the waits between connections; nil is
	// math/rand/v2.
	Random func() float64
}

// Uplink is one way to a far world. Its methods are safe for concurrent use.
type Uplink struct {
	name           string
	cfg            Config
	deps           Deps
	log            *slog.Logger
	ready          chan struct{} // closed by Run once no event is missed any more
	filter         *filter
	limit          *limiter
	lane           *lane
	odd, oddUrgent odd // of Queue and Urgent

	backlog backlog

	connections, stored, filtered, sent, replayed, live, refused, unfit, lost atomic.Uint64

	link *bridge.Link // the far connection

	// sharers are the uplinks that send what this one puts into its queues, itself
	// included; none for one that has a Source. Complete before Run.
	sharers []*Uplink

	rare *ratelog.Log
}

// New validates cfg and returns an uplink that has not been started. name is
// part of its topics: 1 to 64 of a-z 0-9 _.
func New(name string, cfg Config, deps Deps, log *slog.Logger) (*Uplink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if !bridge.ValidName(name) {
		return nil, &bridge.ConfigError{Key: "name", Text: fmt.Sprintf("%.80q is no name", name), Allowed: "1 to 64 of a-z 0-9 _"}
	}
	if deps.Origin == nil || deps.Local == nil || deps.Sink == nil || deps.Queue == nil || deps.DeadLetters == nil {
		return nil, errors.New("uplink: origin, local session, sink and queues are required")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	log = log.With("uplink", name)
	cfg = cfg.WithDefaults()
	u := &Uplink{
		name: name, cfg: cfg, deps: deps, log: log, ready: make(chan struct{}),
		filter: newFilter(cfg, wamp.URI("gantry."+deps.Origin.Gateway()+".")), limit: newLimiter(cfg.Rate), lane: newLane(),
		rare: ratelog.New(log, time.Minute, deps.Now), link: bridge.NewLink(deps.Now),
	}
	u.OldestAge() // what waits already is older than what comes
	source := u
	if deps.Source != nil {
		source = deps.Source
		u.cfg.Buffer = source.cfg.Buffer
	}
	source.sharers = append(source.sharers, u)
	return u, nil
}

// Name returns the uplink's name.
func (u *Uplink) Name() string { return u.name }

// Ready is closed when Run has subscribed to all classes: what is published from
// then on is not missed.
func (u *Uplink) Ready() <-chan struct{} { return u.ready }

// prefix returns "gantry.<gateway>.<class>.".
func (u *Uplink) prefix(class string) wamp.URI {
	return wamp.URI("gantry." + u.deps.Origin.Gateway() + "." + class + ".")
}

// class returns the forwarded class of a topic, "" for none.
func (u *Uplink) class(topic wamp.URI) string {
	for _, class := range u.cfg.Forward {
		if u.prefix(class).Matches(wamp.MatchPrefix, topic) {
			return class
		}
	}
	return ""
}

// Confirms reports whether the uplink puts events on topic into its queues and has
// them committed at once (Buffer.Commit).
func (u *Uplink) Confirms(topic wamp.URI) bool {
	class := u.class(topic)
	return u.deps.Source == nil && class != "" && u.cfg.Buffer.confirmed(class) && u.filter.wanted(topic)
}

// Urgent reports whether events on topic go into the urgent queue.
func (u *Uplink) Urgent(topic wamp.URI) bool {
	return u.deps.Urgent != nil && u.cfg.Buffer.urgent(u.class(topic))
}

// sends reports whether the uplink sends an event of its queues: all of its own, and
// of another uplink's what it has chosen.
func (u *Uplink) sends(r *record) bool {
	if r.only != "" {
		return r.only == u.name
	}
	return u.deps.Source == nil || u.class(r.topic) != "" && u.filter.wanted(r.topic)
}

// shares reports whether others send from the same queues.
func (u *Uplink) shares() bool { return u.deps.Source != nil || len(u.sharers) > 1 }

// queue returns the queue that events on topic belong in.
func (u *Uplink) queue(topic wamp.URI) Queue {
	if u.Urgent(topic) {
		return u.deps.Urgent
	}
	return u.deps.Queue
}

// topic returns a topic of the uplink's own.
func (u *Uplink) topic(class, name string) wamp.URI {
	return u.prefix(class) + wamp.URI("uplink_"+u.name+"."+name)
}

// closeTimeout bounds the parting words to the local router.
const closeTimeout = time.Second

// Run forwards events until ctx ends; then it returns nil. It returns an error when
// the local session refuses it or ends. It may be called once.
func (u *Uplink) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	leave, err := u.subscribe(ctx)
	defer func() {
		lctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		leave(lctx)
	}()
	if err != nil {
		return fmt.Errorf("uplink %s: %w", u.name, err)
	}
	close(u.ready)
	g.Go(func() error { return u.connect(ctx) })
	g.Go(func() error { return u.announce(ctx) })
	g.Go(func() error { u.announceBacklog(ctx); return nil })
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-u.deps.Local.Done():
			return fmt.Errorf("uplink %s: local session: %w", u.name, wamp.ErrClosed)
		}
	})
	return g.Wait()
}

// complain writes a warning, the same one at most once a minute.
func (u *Uplink) complain(text string, args ...any) { u.rare.Warn(text, args...) }

// announce publishes the state of the link locally, as a state event of the
// device "uplink_<name>".
func (u *Uplink) announce(ctx context.Context) error {
	return u.link.Announce(ctx, u.deps.Local, u.deps.Origin, u.topic("state", "link"), func(err error) {
		u.complain("the state of the link was not published", "error", err)
	})
}
