package later

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gantry/bridge"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/serialize"
)

// Config bounds the queued commands of a gateway: the table [later]. Zero fields take
// the default.
type Config struct {
	// Gateway is the name of the gateway that keeps the jobs.
	Gateway string `toml:"-"`
	// Anonymous is the role of those who do not say who they are: each of their sessions
	// has another authid, so that all of them together count as one caller. "" = there
	// are none.
	Anonymous string `toml:"-"`
	// MaxOpen bounds the jobs that have not ended, 1..2000. Default 500.
	MaxOpen int `toml:"max_open"`
	// MaxCaller bounds those of one caller, which is an authid and a role, from 1 to
	// MaxOpen. Default 100, or MaxOpen where that is less.
	MaxCaller int `toml:"max_caller"`
	// MaxEnded is how many jobs that have ended are remembered, with their keys,
	// 1..2000. Default 200.
	MaxEnded int `toml:"max_ended"`
	// MaxBytes bounds the arguments of one job, in bytes of CBOR, 64..65536, and with
	// MaxOpen and MaxEnded no more than 24 MiB. Default 16 KiB.
	MaxBytes int `toml:"max_bytes"`
	// MaxAge is the longest time until a job expires, 1 s to 366 days. Default 30 days.
	MaxAge time.Duration `toml:"max_age"`
	// SetTimeout and DoTimeout bound one call, 1 s to 24 h. Default 1 min and 1 h.
	SetTimeout time.Duration `toml:"set_timeout"`
	DoTimeout  time.Duration `toml:"do_timeout"`
}

// maxTable is what the jobs, with their arguments, may take in the table.
const maxTable = 24 << 20

func (c Config) withDefaults() Config {
	c.MaxOpen = cmp.Or(c.MaxOpen, 500)
	c.MaxCaller = cmp.Or(c.MaxCaller, min(100, c.MaxOpen))
	c.MaxEnded = cmp.Or(c.MaxEnded, 200)
	c.MaxBytes = cmp.Or(c.MaxBytes, 16<<10)
	c.MaxAge = cmp.Or(c.MaxAge, 30*24*time.Hour)
	c.SetTimeout = cmp.Or(c.SetTimeout, time.Minute)
	c.DoTimeout = cmp.Or(c.DoTimeout, time.Hour)
	return c
}

// Validate checks what comes from the configuration. The error is a
// *bridge.ConfigError.
func (c Config) Validate() error {
	d := c.withDefaults()
	const day = 24 * time.Hour
	for _, r := range []struct {
		key          string
		v, low, high int64
		allowed      string
	}{
		{"max_open", int64(d.MaxOpen), 1, 2000, "1 to 2000"},
		{"max_caller", int64(d.MaxCaller), 1, int64(d.MaxOpen), "1 to max_open"},
		{"max_ended", int64(d.MaxEnded), 1, 2000, "1 to 2000"},
		{"max_bytes", int64(d.MaxBytes), 64, 64 << 10, "64 to 65536"},
	} {
		if r.v < r.low || r.v > r.high {
			return &bridge.ConfigError{Key: r.key, Text: fmt.Sprintf("is %d", r.v), Allowed: r.allowed}
		}
	}
	if most := int64(maxTable / (d.MaxOpen + d.MaxEnded)); int64(d.MaxBytes) > most {
		return &bridge.ConfigError{Key: "max_bytes", Text: fmt.Sprintf("is %d", d.MaxBytes), Allowed: fmt.Sprintf("at most %d with these max_open and max_ended, 24 MiB in all", most)}
	}
	for _, r := range []struct {
		key     string
		v, high time.Duration
		allowed string
	}{
		{"max_age", d.MaxAge, 366 * day, "1s to 8784h"},
		{"set_timeout", d.SetTimeout, day, "1s to 24h"},
		{"do_timeout", d.DoTimeout, day, "1s to 24h"},
	} {
		if r.v < time.Second || r.v > r.high {
			return &bridge.ConfigError{Key: r.key, Text: "is " + r.v.String(), Allowed: r.allowed}
		}
	}
	return nil
}

// Table keeps what must survive a restart.
type Table interface {
	// Each calls fn for every entry until it fails. The slices are lent.
	Each(fn func(key, value []byte) error) error
	// Apply makes all the changes, or none, and returns once they are on disk. A
	// nil value removes the key.
	Apply(ctx context.Context, changes map[string][]byte) error
}

// Deps are what a Later needs.
type Deps struct {
	Session wamp.Session
	Table   Table
	// Clock looks at the clocks.
	Clock func() Moment
	// NewID makes the name of a job: up to 64 of a-z 0-9, never the same twice.
	NewID func() string
	// Allow reports whether who was called authid, in the role authrole, may call
	// procedure; an error says that this cannot be found out now. It may block.
	Allow func(ctx context.Context, authid, authrole string, procedure wamp.URI) (bool, error)
}

// Later keeps queued commands and calls them. It is a component on a session.
type Later struct {
	cfg  Config
	deps Deps
	log  *slog.Logger

	// ops is what handlers and calls want of the queue, which belongs to Run.
	// Unbuffered, never closed.
	ops chan func(*Queue)
	// ended is closed when Run returns, so that nobody waits for it.
	ended chan struct{}
	ready chan struct{} // closed when the procedures are served

	mu     sync.Mutex // guards counts
	counts map[State]uint64
}

// New validates cfg and starts nothing. A nil log discards. The error is a
// *bridge.ConfigError.
func New(cfg Config, deps Deps, log *slog.Logger) (*Later, error) {
	if !bridge.ValidName(cfg.Gateway) {
		return nil, &bridge.ConfigError{Key: "gateway.name", Text: "is not a name", Allowed: "1 to 64 of a-z 0-9 _"}
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Later{cfg: cfg, deps: deps, log: log, ops: make(chan func(*Queue)), ended: make(chan struct{}), ready: make(chan struct{}), counts: map[State]uint64{}}, nil
}

// Counts returns how many jobs have come into each state since the start.
func (l *Later) Counts() map[State]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[State]uint64, len(l.counts))
	for s, n := range l.counts {
		all[s] = n
	}
	return all
}

// Ready is closed once commands are taken.
func (l *Later) Ready() <-chan struct{} { return l.ready }

// Run reads the jobs, serves the procedures and calls what is due, until ctx ends;
// then it returns nil. It returns an error if the session ends before, or if the
// jobs cannot be read. It runs once.
func (l *Later) Run(ctx context.Context) error {
	defer close(l.ended)
	jobs, err := l.load()
	if err != nil {
		return err
	}
	q := NewQueue(Limits{Open: l.cfg.MaxOpen, Caller: l.cfg.MaxCaller, Ended: l.cfg.MaxEnded, Anonymous: l.cfg.Anonymous}, jobs)
	ctx, cancel := context.WithCancel(ctx)
	var active sync.WaitGroup
	defer active.Wait()
	defer cancel()
	// What was under way is told before anybody may queue more. On a disk that cannot be
	// written the next start finds it as this one has.
	if lost := q.Wake(l.deps.Clock()); len(lost) > 0 {
		l.settle(ctx, q, lost...)
	}
	active.Go(func() { l.serve(ctx) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.deps.Session.Done():
			return wamp.ErrClosed
		case op := <-l.ops:
			op(q)
		case <-timer.C:
		}
		now := l.deps.Clock()
		if dated := q.Date(now); len(dated) > 0 {
			if err := l.write(ctx, dated); err != nil && ctx.Err() == nil {
				l.log.Warn("when queued commands expire is not written, now that the clock is set", "error", err)
			}
			q.Commit(dated)
		}
		if expired := q.Expire(now); len(expired) > 0 {
			l.settle(ctx, q, expired...)
		}
		due, next := q.Due(now)
		for _, j := range due {
			active.Go(func() { l.fire(ctx, j) })
		}
		timer.Reset(max(next, time.Millisecond))
	}
}

// load reads the jobs. A record that cannot be read is left out, never called.
func (l *Later) load() (jobs []Job, err error) {
	err = l.deps.Table.Each(func(key, value []byte) error {
		j, err := readJob(value)
		if err != nil || j.ID != string(key) {
			l.log.Error("queued command is lost: its record is damaged", "job", string(key), "error", err)
			return nil
		}
		jobs = append(jobs, j)
		return nil
	})
	return jobs, err
}

// do has Run carry op out and waits for that.
func (l *Later) do(ctx context.Context, op func(*Queue)) error {
	done := make(chan struct{})
	select {
	case l.ops <- func(q *Queue) { defer close(done); op(q) }:
		<-done
		return nil
	case <-l.ended:
		return wamp.NewError(wamp.ErrURIUnavailable, "the gateway is stopping", nil)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// commit brings changes to disk, makes them true and tells of them.
func (l *Later) commit(ctx context.Context, q *Queue, changes ...Job) error {
	if err := l.write(ctx, changes); err != nil {
		return err
	}
	l.tell(ctx, q, changes)
	return nil
}

// settle is commit for what has happened already: it is true even if it cannot be
// written. Then a restart finds the state before, and says that the outcome is unknown.
func (l *Later) settle(ctx context.Context, q *Queue, changes ...Job) {
	if err := l.write(ctx, changes); err != nil && ctx.Err() == nil {
		l.log.Error("state of a queued command not written", "job", changes[0].ID, "state", string(changes[0].State), "error", err)
	}
	l.tell(ctx, q, changes)
}

func (l *Later) write(ctx context.Context, changes []Job) error {
	records := make(map[string][]byte, len(changes))
	for i := range changes {
		b, err := changes[i].record()
		if err != nil {
			return err
		}
		records[changes[i].ID] = b
	}
	return l.deps.Table.Apply(ctx, records)
}

func (l *Later) tell(ctx context.Context, q *Queue, changes []Job) {
	if forgotten := q.Commit(changes); len(forgotten) > 0 {
		gone := map[string][]byte{}
		for _, id := range forgotten {
			gone[id] = nil
		}
		if err := l.deps.Table.Apply(ctx, gone); err != nil && ctx.Err() == nil {
			l.log.Warn("ended commands not removed", "error", err)
		}
	}
	for _, j := range changes {
		l.mu.Lock()
		l.counts[j.State]++
		l.mu.Unlock()
		l.log.Info("queued command", "job", j.ID, "state", string(j.State), "procedure", string(j.Procedure),
			"authid", j.AuthID, "authrole", j.AuthRole, "error", j.Error, "why", j.Why)
		topic := wamp.URI("gantry." + l.cfg.Gateway + ".job." + j.ID + ".state")
		kwargs := j.show()
		kwargs["ts"] = l.deps.Clock().Wall.UnixMicro()
		if err := l.deps.Session.Publish(ctx, topic, wamp.PublishOptions{}, wamp.Values(wamp.List{string(j.State)}, kwargs)); err != nil && ctx.Err() == nil {
			l.log.Warn("state of a queued command not published", "job", j.ID, "error", err)
		}
	}
}

// fire calls the procedure of a job that is due, if its caller still may.
func (l *Later) fire(ctx context.Context, j Job) {
	allowed, err := l.deps.Allow(ctx, j.AuthID, j.AuthRole, j.Procedure)
	started := false
	asked := l.do(ctx, func(q *Queue) {
		now := l.deps.Clock()
		started = l.begin(ctx, q, j, allowed, err, now)
		if !started {
			q.Release(j)
		}
	})
	if asked != nil || !started {
		return
	}
	err = l.call(ctx, j)
	if ctx.Err() != nil {
		return // the next start finds it sent
	}
	_ = l.do(ctx, func(q *Queue) {
		q.Release(j)
		now := l.deps.Clock()
		if cur, ok := q.Get(j.ID); ok && cur.State.away() {
			cur = q.After(cur, err, now)
			l.settle(ctx, q, cur)
			if cur.State == Queued {
				q.Defer(cur, now)
			}
		}
	})
}

// begin decides whether j is called now, and marks it as sent on disk before.
func (l *Later) begin(ctx context.Context, q *Queue, j Job, allowed bool, err error, now Moment) bool {
	sent, ok := q.Start(j.ID, now)
	if !ok {
		return false
	}
	if err == nil && !allowed {
		sent.State, sent.Error, sent.Why = Failed, string(wamp.ErrURINotAuthorized), "its caller may not call the procedure any more"
		l.settle(ctx, q, sent)
		return false
	}
	if err == nil {
		err = l.commit(ctx, q, sent)
	}
	if err != nil {
		if ctx.Err() == nil {
			l.log.Warn("queued command waits", "job", j.ID, "error", err)
		}
		q.Defer(j, now)
		return false
	}
	return true
}

// call calls the procedure. A set has no longer than until the job expires.
func (l *Later) call(ctx context.Context, j Job) error {
	args, kwargs, err := unpack(j.Payload)
	if err != nil {
		return wamp.NewError(wamp.ErrURIInvalidArgument, err.Error(), nil)
	}
	limit := l.cfg.DoTimeout
	if isSet(j.Procedure) {
		limit = l.cfg.SetTimeout
		left, known := l.deps.Clock().until(j.Expires)
		if !known || left <= 0 {
			return wamp.NewError(wamp.ErrURIExpired, "expired at the last moment; it was not called", nil)
		}
		limit = min(limit, left)
	}
	call, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// The session's reader must not wait for the disk, and one report is enough.
	var first sync.Once
	var telling sync.WaitGroup
	defer telling.Wait()
	_, err = l.deps.Session.CallProgress(call, j.Procedure, wamp.CallOptions{}, wamp.Values(args, kwargs), func(wamp.Payload) {
		first.Do(func() {
			telling.Go(func() {
				_ = l.do(call, func(q *Queue) {
					if r, ok := q.Progress(j.ID, l.deps.Clock()); ok {
						l.settle(ctx, q, r)
					}
				})
			})
		})
	})
	if err != nil && call.Err() != nil && ctx.Err() == nil {
		return errors.Join(errNoAnswer, err)
	}
	return err
}

var errNoAnswer = errors.New("no answer in time")

// serve registers the procedures and watches for targets that come back, until ctx
// ends.
func (l *Later) serve(ctx context.Context) {
	var active, taken sync.WaitGroup
	defer active.Wait()
	refused := func(err error) { l.log.Warn("queued commands are not served yet", "error", err) }
	hold := func(take func(context.Context) (func(context.Context) error, error)) {
		taken.Add(1)
		active.Go(func() {
			var undo func(context.Context) error
			insisted := client.Insist(ctx, func(ctx context.Context) (err error) { undo, err = take(ctx); return err }, refused)
			taken.Done()
			if insisted != nil {
				return
			}
			<-ctx.Done()
			late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = undo(late) // the session may have ended
		})
	}
	for uri, match := range map[wamp.URI]wamp.Match{
		"wamp.registration.on_create": wamp.MatchExact, "gantry..state..link": wamp.MatchWildcard,
	} {
		hold(func(ctx context.Context) (func(context.Context) error, error) {
			return l.deps.Session.Subscribe(ctx, uri, wamp.SubscribeOptions{Match: match}, func(ev *wamp.Event) { l.returned(ctx, ev) })
		})
	}
	for _, p := range l.procedures() {
		hold(func(ctx context.Context) (func(context.Context) error, error) {
			return l.deps.Session.Register(ctx, p.uri, wamp.RegisterOptions{Match: p.match, DiscloseCaller: true}, p.serve)
		})
	}
	taken.Wait()
	if ctx.Err() == nil {
		close(l.ready)
	}
}

// returned has the jobs tried at once whose target is there again: a procedure that
// has been registered, or a device that has come online.
func (l *Later) returned(ctx context.Context, ev *wamp.Event) {
	args, _, err := serialize.Values(ev.Payload)
	if err != nil {
		return
	}
	var is func(procedure wamp.URI) bool
	if gateway, device, ok := linkOf(ev.Details.Topic); ok {
		is = func(p wamp.URI) bool { g, d, _ := targetOf(p); return g == gateway && d == device }
	} else if len(args) == 2 {
		about, _ := args[1].(wamp.Dict)
		uri, _ := about["uri"].(string)
		name, _ := about["match"].(string)
		match, ok := matches[name]
		if !ok {
			return
		}
		is = func(p wamp.URI) bool { return wamp.URI(uri).Matches(match, p) }
	} else {
		return
	}
	_ = l.do(ctx, func(q *Queue) { q.Poke(is) })
}

var matches = map[string]wamp.Match{"exact": wamp.MatchExact, "prefix": wamp.MatchPrefix, "wildcard": wamp.MatchWildcard}
