package uplink

import (
	"context"
	"errors"
	"sync"
	"time"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/serialize"
)

const (
	// maxTries is how often the far router may refuse a record before it is set
	// aside.
	maxTries = 5
	// ackTimeout is how long a publication may wait for its answer before the
	// connection is given up.
	ackTimeout = 30 * time.Second
	// readLimit is how many records are taken from the queue at a time.
	readLimit = 64
	// retryMin and retryMax bound the wait before a refused record is tried again.
	retryMin = 200 * time.Millisecond
	retryMax = 2 * time.Second
)

// departure is the publication that is on its way to the wire. Publish returns
// only when the answer is there; to keep many on the wire in order the next one
// starts when this one has been handed to the transport, which the tap sees.
type departure struct {
	epoch, seq uint64
	once       sync.Once
	gone       chan struct{} // closed when it has been handed over, or never will be
}

func (d *departure) left() { d.once.Do(func() { close(d.gone) }) }

// tap is the far peer with an eye on what is sent.
type tap struct {
	wamp.Peer
	u *Uplink
}

// Send implements wamp.Peer.
func (t *tap) Send(ctx context.Context, m wamp.Message) error {
	err := t.Peer.Send(ctx, m)
	if p, ok := m.(*wamp.Publish); ok && p.Options.Once != nil {
		if d := t.u.next.Load(); d != nil && d.seq == p.Options.Once.Seq && d.epoch == p.Options.Once.Epoch {
			d.left()
		}
	}
	return err
}

func (u *Uplink) dial(ctx context.Context) (wamp.Peer, error) {
	p, err := u.deps.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return &tap{p, u}, nil
}

// send empties the queue over one session after the other.
func (u *Uplink) send(ctx context.Context) error {
	for {
		s, err := u.client.Wait(ctx)
		if err != nil {
			return nil
		}
		u.drain(ctx, s)
		if ctx.Err() != nil {
			return nil
		}
		// Whatever went wrong, the next session begins at the cursor.
		_ = s.Close()
		for {
			_, changed := u.link.State()
			if ctx.Err() != nil || u.client.Connected() != s {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

// item is what Read hands out.
type item struct {
	epoch, seq uint64
	record     []byte
	lost       uint64
}

// drain sends what is in the queue and what comes, until the session ends or
// does not answer.
func (u *Uplink) drain(ctx context.Context, s *client.Session) {
	ctx, cancel := context.WithCancel(ctx)
	w := &window{max: u.cfg.Window}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	tasks.Go(func() {
		defer cancel()
		u.watch(ctx, s, w)
	})
	counters := u.deps.Queue.Counters()
	after, history := counters["acknowledged"], counters["appended"]
	for {
		var batch []item
		err := u.deps.Queue.Read(ctx, after, readLimit, func(epoch, seq uint64, b []byte, lost uint64) {
			batch = append(batch, item{epoch, seq, b, lost})
			after = seq
		})
		if err != nil && ctx.Err() == nil {
			u.complain("the queue cannot be read", "error", err)
			// It is not going to be better at once.
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			return
		}
		for _, it := range batch {
			r, ok := u.unpack(ctx, it)
			if w.add(ctx, it.seq, len(it.record)) != nil || u.hold(ctx, &r) != nil {
				return
			}
			if !ok {
				u.dispose(ctx, w, it.seq, u.bury(ctx, it.record))
				continue
			}
			d := &departure{epoch: it.epoch, seq: it.seq, gone: make(chan struct{})}
			u.next.Store(d)
			tasks.Go(func() {
				defer d.left()
				if !u.publish(ctx, s, w, d, r, it.seq <= history) {
					cancel()
				}
			})
			<-d.gone
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// watch returns when the session ends or leaves a publication unanswered.
func (u *Uplink) watch(ctx context.Context, s *client.Session, w *window) {
	tick := time.NewTicker(ackTimeout / 10)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.Done():
			return
		case <-tick.C:
			if age := w.oldest(); age > ackTimeout {
				u.complain("the far router does not acknowledge; connecting anew", "waited_ms", age.Milliseconds())
				return
			}
		}
	}
}

// unpack returns the event of an item; ok is false for one that cannot be read.
func (u *Uplink) unpack(ctx context.Context, it item) (r record, ok bool) {
	if it.lost == 0 {
		r, err := parseRecord(it.record)
		return r, err == nil
	}
	// The receivers learn of the hole where it is.
	u.lost.Add(it.lost)
	u.log.Warn("events were lost from the queue", "from", it.seq-it.lost+1, "to", it.seq, "count", it.lost)
	p, err := serialize.Encode(wamp.CBOR, wamp.Values(wamp.List{"raised"}, wamp.Dict{
		"ts": u.deps.Now().UnixMicro(), "from": it.seq - it.lost + 1, "to": it.seq, "count": it.lost,
	}))
	return record{topic: u.topic("alarm", "gap"), payload: p}, err == nil
}

// hold waits until a refused record may be tried again.
func (u *Uplink) hold(ctx context.Context, r *record) error {
	if r.triedAt == 0 || r.tries == 0 {
		return ctx.Err()
	}
	pause := min(retryMin<<min(r.tries-1, 10), retryMax)
	// A clock that was set meanwhile must not make it longer.
	wait := min(pause, pause-time.Duration(u.deps.Now().UnixMicro()-int64(r.triedAt))*time.Microsecond)
	if wait <= 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// publish sends one record and deals with the answer. It reports false when the
// session is of no use any more.
func (u *Uplink) publish(ctx context.Context, s *client.Session, w *window, d *departure, r record, replay bool) bool {
	opts := wamp.PublishOptions{
		Acknowledge: true, Retain: r.retain, Passthru: r.passthru,
		Once: &wamp.Once{Stream: u.deps.Origin.Gateway() + "/" + u.deps.Queue.ID(), Epoch: d.epoch, Seq: d.seq},
	}
	payload := r.payload
	if replay {
		payload = withReplay(payload)
	}
	err := s.Publish(ctx, r.topic, opts, payload)
	if err == nil {
		u.sent.Add(1)
		if replay {
			u.replayed.Add(1)
		}
		u.dispose(ctx, w, d.seq, nil)
		return true
	}
	// The order matters: a lost session may carry the router's farewell, which is
	// an error with a URI as well.
	refusal, final := false, false
	var answer *wamp.Error
	var unfit *wamp.PayloadError
	switch {
	case errors.Is(err, wamp.ErrClosed), errors.Is(err, wamp.ErrNotConnected), ctx.Err() != nil:
	case errors.Is(err, wamp.ErrTooLarge), errors.As(err, &unfit):
		refusal, final = true, true
	case errors.As(err, &answer):
		refusal = true
	}
	if !refusal {
		return false
	}
	u.refused.Add(1)
	u.complain("the far router refuses an event", "topic", string(r.topic), "error", err)
	u.dispose(ctx, w, d.seq, u.again(ctx, r, err, final))
	return true
}

// dispose moves the cursor past a record that has been dealt with. With an error
// it has not been, and the next session gets it again.
func (u *Uplink) dispose(ctx context.Context, w *window, seq uint64, err error) {
	if err != nil {
		u.complain("a refused event could not be kept", "error", err)
		return
	}
	if cursor := w.done(seq); cursor != 0 {
		if err := u.deps.Queue.Ack(ctx, cursor); err != nil {
			u.complain("the cursor could not be moved", "error", err)
		}
	}
}

// again puts a refused record at the end of the queue, or into the dead letters.
// There it has a number of its own, for what came after it may have moved the
// far router's mark beyond the old one.
func (u *Uplink) again(ctx context.Context, r record, cause error, final bool) error {
	r.tries++
	r.triedAt = uint64(max(u.deps.Now().UnixMicro(), 1))
	if permanent(cause) {
		r.triedAt = 0
	}
	if !final && r.tries < maxTries {
		if _, err := u.deps.Queue.Enqueue(ctx, r.append(nil), true); err == nil || ctx.Err() != nil {
			return err
		}
	}
	r.reason = cause.Error()
	r.reason = r.reason[:min(len(r.reason), 1024)]
	return u.bury(ctx, r.append(nil))
}

func (u *Uplink) bury(ctx context.Context, record []byte) error {
	_, err := u.deps.DeadLetters.Enqueue(ctx, record, true)
	if err == nil {
		u.complain("an event went to the dead letters")
	}
	return err
}

// permanent reports whether waiting will not change the router's mind.
func permanent(err error) bool {
	var e *wamp.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.URI {
	case wamp.ErrURINotAuthorized, wamp.ErrURIInvalidURI, wamp.ErrURIInvalidArgument,
		wamp.ErrURIPayloadSizeExceeded, wamp.ErrURIOptionNotAllowed, wamp.ErrURIOptionDisallowedDisclose:
		return true
	}
	return false
}
