package uplink

import (
	"context"
	"errors"
	"sync"
	"time"

	"gantry/bridge"
	"gantry/internal/backoff"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

const (
	// connectTimeout bounds one attempt to connect.
	connectTimeout = 15 * time.Second
	// stable is how long a connection must last for the next attempt to be quick
	// again, if the far side has taken nothing.
	stable = time.Minute
	// ackTimeout is how long an event may wait for its answer before the connection
	// is given up.
	ackTimeout = 30 * time.Second
	// readLimit is how many records are taken from the queue at a time.
	readLimit = 256
)

var errStuck = errors.New("the far side does not acknowledge")

// connect makes one connection after the other and empties the queue over them.
func (u *Uplink) connect(ctx context.Context) error {
	wait := backoff.New(backoff.Config{Min: time.Second, Max: time.Minute}, u.deps.Random)
	for {
		began, sent := time.Now(), u.sent.Load()
		err := u.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if before, _ := u.link.State(); before.State != bridge.Offline || before.Reason != err.Error() {
			u.log.Warn("not connected; trying again", "error", err)
		}
		u.link.Set(bridge.Offline, err.Error())
		if u.sent.Load() > sent || time.Since(began) >= stable {
			wait.Reset()
		}
		if wait.Wait(ctx) != nil {
			return nil
		}
	}
}

// once makes a connection and uses it until it ends. It returns why it did.
func (u *Uplink) once(ctx context.Context) error {
	cctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	c, err := u.deps.Sink.Connect(cctx)
	if err != nil {
		return u.deps.Origin.ClockError(err)
	}
	defer c.Close()
	u.connections.Add(1)
	u.link.Set(bridge.Online, "")
	u.log.Info("connected")
	return u.drain(ctx, c)
}

// item is what Read hands out.
type item struct {
	epoch, seq uint64
	record     []byte
	lost       uint64
}

func (it *item) size() int { return len(it.record) }

// flow is a queue on its way over one connection.
type flow struct {
	queue   Queue
	lane    string // Event.Lane
	w       *window
	history mark // the last record that is older than the connection
	begin   uint64
	stalls  *stalls
	sending sync.Mutex // keeps the events of a topic in order, on their way to the connection
}

func newFlow(queue Queue, lane string, size int, o *odd) *flow {
	c := queue.Counters()
	return &flow{
		queue: queue, lane: lane, w: newWindow(size), history: mark{c["appended"], time.Now()}, begin: c["acknowledged"], stalls: newStalls(o),
	}
}

// drain sends what is in the queues and what comes, until the connection ends or
// does not answer. It returns why it ended. What is urgent has a window of its own and
// goes at once, beside the rest, which begins when the urgent events that had been
// waiting are on their way.
func (u *Uplink) drain(outer context.Context, c Conn) error {
	ctx, end := context.WithCancelCause(outer)
	f := newFlow(u.deps.Queue, "", u.cfg.Window, &u.odd)
	u.lane.position.Store(f.begin)
	flows := []*flow{f}
	var tasks sync.WaitGroup
	defer func() {
		end(nil)
		tasks.Wait()
		for _, f := range flows {
			if outer.Err() != nil {
				u.requeue(outer, f)
			}
		}
	}()
	tasks.Go(func() { end(watch(ctx, c, f.w)) })
	tasks.Go(func() { u.sendBacklog(ctx, c, end) })
	tasks.Go(func() { u.retry(ctx, c, f, end) })
	if u.deps.Urgent != nil {
		urgent, caught := newFlow(u.deps.Urgent, UrgentLane, u.cfg.Window, &u.oddUrgent), make(chan struct{})
		flows = append(flows, urgent)
		tasks.Go(func() { end(watch(ctx, c, urgent.w)) })
		tasks.Go(func() { u.retry(ctx, c, urgent, end) })
		tasks.Go(func() { end(u.pump(ctx, c, urgent, end, caught)) })
		select {
		case <-caught:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if !u.cfg.NoLive {
		tasks.Go(func() { u.overtake(ctx, c, f, end) })
	}
	err := u.pump(ctx, c, f, end, nil)
	end(err)
	return context.Cause(ctx)
}

// pump sends what is in a queue and what comes. It closes caught, if there is one, when
// what is older than the connection has been sent.
func (u *Uplink) pump(ctx context.Context, c Conn, f *flow, end context.CancelCauseFunc, caught chan struct{}) error {
	after := f.begin
	for ctx.Err() == nil {
		if caught != nil && after >= f.history.seq {
			close(caught)
			caught = nil
		}
		var batch []item
		err := f.queue.Read(ctx, after, readLimit, func(epoch, seq uint64, b []byte, lost uint64) {
			batch = append(batch, item{epoch, seq, b, lost})
			after = seq
		})
		if err != nil && ctx.Err() == nil {
			u.complain("the queue cannot be read", "error", err)
			return err
		}
		for len(batch) > 0 && ctx.Err() == nil {
			n, err := u.send(ctx, c, f, batch, end)
			if err != nil {
				return err
			}
			batch = batch[n:]
		}
	}
	return ctx.Err()
}

// watch returns when the connection ends, or leaves an event unanswered for too
// long, and why.
func watch(ctx context.Context, c Conn, w *window) error {
	tick := time.NewTicker(ackTimeout / 10)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.Done():
			if err := c.Err(); err != nil {
				return err
			}
			return wamp.ErrClosed
		case <-tick.C:
			if w.oldest() > ackTimeout {
				return errStuck
			}
		}
	}
}

// send sends the first items of a batch, as many as the window takes, and returns
// how many.
func (u *Uplink) send(ctx context.Context, c Conn, f *flow, batch []item, end context.CancelCauseFunc) (int, error) {
	if f.lane == "" {
		// What is urgent does not wait; the rest pays for it.
		if err := u.limit.wait(ctx); err != nil {
			return 0, err
		}
		if u.limit.set() {
			batch = batch[:1]
		}
	}
	n, err := f.w.add(ctx, batch)
	if err != nil {
		return 0, err
	}
	f.sending.Lock()
	defer f.sending.Unlock()
	parcels := make([]parcel, 0, n)
	for _, it := range batch[:n] {
		r, ok := u.unpack(f, it)
		if ok && it.lost == 0 && !u.sends(&r) {
			u.filtered.Add(1)
			u.dispose(ctx, f, it.seq, nil)
			continue
		}
		u.limit.take(it.size())
		if !ok {
			u.dispose(ctx, f, it.seq, u.bury(ctx, it.record))
			continue
		}
		if p := f.parcel(it, r); !f.stalls.joins(p) {
			parcels = append(parcels, p)
		}
	}
	if f.lane == "" {
		u.lane.position.Store(batch[n-1].seq)
	}
	if len(parcels) == 0 {
		return n, nil
	}
	return n, u.pass(ctx, c, f, parcels, end)
}

// parcel makes the event of a record.
func (f *flow) parcel(it item, r record) parcel {
	e := Event{
		Topic: r.topic, Epoch: it.epoch, Seq: it.seq, Lane: f.lane, Retain: r.retain, Replay: it.seq <= f.history.seq,
		Payload: r.payload, Passthru: r.passthru,
	}
	if e.Replay {
		e.Payload = withReplay(e.Payload)
	}
	if before, ok := f.stalls.odd.get(it.seq); ok {
		e.Again, r.tries = true, before.tries
	}
	return parcel{e, r}
}

// pass hands events to the connection. f.sending is held.
func (u *Uplink) pass(ctx context.Context, c Conn, f *flow, parcels []parcel, end context.CancelCauseFunc) error {
	events := make([]Event, len(parcels))
	for i := range parcels {
		events[i] = parcels[i].e
	}
	return c.Send(ctx, events, func(i int, err error) {
		if ctx.Err() == nil {
			u.settle(ctx, f, &parcels[i], err)
		}
	})
}

// settle deals with the answer to an event.
func (u *Uplink) settle(ctx context.Context, f *flow, p *parcel, answer error) {
	if answer == nil {
		f.stalls.take(&p.e)
		u.sent.Add(1)
		if p.e.Replay {
			u.replayed.Add(1)
		}
		u.dispose(ctx, f, p.e.Seq, nil)
		return
	}
	if errors.Is(answer, ErrBehind) {
		f.stalls.behind(p)
		return
	}
	u.refused.Add(1)
	u.complain("the far side refuses an event", "topic", string(p.e.Topic), "error", answer)
	var refusal *Refusal
	if !errors.As(answer, &refusal) {
		refusal = &Refusal{Cause: answer}
	}
	if f.stalls.refuse(p, refusal) {
		u.setAside(ctx, f, p, answer)
	}
}

// parse reads a record as it is to be sent now: with its time put right, if the clock
// has been set since.
func (u *Uplink) parse(b []byte) (r record, ok bool) {
	r, err := parseRecord(b)
	if err == nil && r.passthru == nil {
		r.payload, _ = u.deps.Origin.Restamp(r.topic, r.payload)
	}
	return r, err == nil
}

// gapName is the name of the alarm that tells what has been lost from a queue: each queue
// counts for itself.
func (f *flow) gapName() string {
	if f.lane == UrgentLane {
		return "gap_urgent"
	}
	return "gap"
}

// unpack returns the event of an item; ok is false for one that cannot be read.
func (u *Uplink) unpack(f *flow, it item) (r record, ok bool) {
	if it.lost == 0 {
		return u.parse(it.record)
	}
	// The receivers learn of the hole where it is.
	p, err := serialize.Encode(wamp.CBOR, wamp.Values(wamp.List{"raised"}, u.gap(f, it)))
	return record{topic: u.topic("alarm", f.gapName()), payload: p}, err == nil
}

// lostInCrash is the reason of a gap of which nobody knows how many events are missing,
// if any.
const lostInCrash = "crash"

// gap returns what receivers are told where events are missing.
func (u *Uplink) gap(f *flow, it item) wamp.Dict {
	from, why := it.seq-it.lost+1, string(it.record)
	gap := wamp.Dict{"from": from, "to": it.seq, "why": why}
	u.deps.Origin.Date(gap)
	if why == lostInCrash {
		u.log.Warn("events may have been lost in a crash", "alarm", f.gapName(), "number", from)
		return gap
	}
	u.lost.Add(it.lost)
	gap["count"] = it.lost
	u.log.Warn("events were lost from the queue", "alarm", f.gapName(), "from", from, "to", it.seq, "count", it.lost, "why", why)
	return gap
}

// dispose moves the cursor past a record that has been dealt with. With an error
// it has not been, and the next connection gets it again.
func (u *Uplink) dispose(ctx context.Context, f *flow, seq uint64, err error) {
	if err != nil {
		u.complain("a refused event could not be kept", "error", err)
		return
	}
	if cursor := f.w.done(seq); cursor != 0 {
		if err := f.queue.Ack(ctx, cursor); err != nil {
			u.complain("the cursor could not be moved", "error", err)
		}
	}
}
