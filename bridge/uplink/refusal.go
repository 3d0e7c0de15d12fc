package uplink

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"gantry/wamp"
)

const (
	// maxTries is how often the far world may refuse a record before it is set
	// aside.
	maxTries = 5
	// retryMin and retryMax bound the wait before a refused record is tried again.
	retryMin = 200 * time.Millisecond
	retryMax = 2 * time.Second
	// maxReason bounds the text that is kept with a dead letter, in bytes.
	maxReason = 1024
	// maxShut bounds the topics that are known to be shut.
	maxShut = 1024
)

// errOvertaken is why a refused event is not tried again.
var errOvertaken = errors.New("refused, while later ones of its topic were taken")

// odd are the records that the far world has refused, or that wait behind such a
// one, by their numbers: others overtake them, so that a router that counts (wamp.Once)
// would take them for repetitions. They outlive a connection.
type odd struct {
	mu      sync.Mutex // guards records
	records map[uint64]record
}

func (o *odd) get(seq uint64) (r record, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r, ok = o.records[seq]
	return r, ok
}

func (o *odd) put(seq uint64, r record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.records == nil {
		o.records = map[uint64]record{}
	}
	o.records[seq] = r
}

func (o *odd) remove(seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.records, seq)
}

// parcel is an event on its way with its record.
type parcel struct {
	e Event
	r record
}

// stall is a topic that waits for a refused event.
type stall struct {
	waiting []parcel // in order; the first is tried alone
	trying  bool     // it is on its way
	due     time.Time
	taken   uint64 // the last event of the topic that was taken meanwhile
}

// stalls are the topics on which an event has been refused, during one connection: the
// events behind it wait, and those of other topics go on. They wait in the window, which
// bounds them.
type stalls struct {
	odd  *odd
	kick chan struct{} // capacity 1: look again; never closed

	mu     sync.Mutex // guards what follows
	topics map[wamp.URI]*stall
	// shut are the topics of which an event has been set aside, and none taken since: the
	// far world would not change its mind, and is asked once for each that follows.
	shut map[wamp.URI]bool
}

func newStalls(o *odd) *stalls {
	return &stalls{odd: o, kick: make(chan struct{}, 1), topics: map[wamp.URI]*stall{}, shut: map[wamp.URI]bool{}}
}

func (s *stalls) poke() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// joins reports whether an event has to wait behind others of its topic, and notes it
// there.
func (s *stalls) joins(p parcel) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.topics[p.e.Topic]
	if st == nil {
		return false
	}
	s.enter(st, p)
	return true
}

// enter puts an event among those that wait. mu is held.
func (s *stalls) enter(st *stall, p parcel) {
	p.e.Again = true
	s.odd.put(p.e.Seq, p.r)
	i, _ := slices.BinarySearchFunc(st.waiting, p.e.Seq, func(w parcel, seq uint64) int {
		if w.e.Seq < seq {
			return -1
		}
		return 1
	})
	st.waiting = slices.Insert(st.waiting, i, p)
}

// take notes that an event has been taken.
func (s *stalls) take(e *Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.shut, e.Topic)
	if e.Again {
		s.odd.remove(e.Seq)
	}
	st := s.topics[e.Topic]
	if st == nil {
		return
	}
	if st.trying && st.waiting[0].e.Seq == e.Seq {
		// All that wait may go.
		st.waiting, st.trying, st.due = st.waiting[1:], false, time.Time{}
		s.poke()
		return
	}
	st.taken = max(st.taken, e.Seq)
}

// behind notes that an event was not sent, because of one before it.
func (s *stalls) behind(p *parcel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enter(s.stall(p), *p)
	s.poke()
}

// refuse notes that an event has been refused, and reports whether it is to be set aside
// now.
func (s *stalls) refuse(p *parcel, refusal *Refusal) (aside bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.r.tries++
	st := s.stall(p)
	defer s.poke()
	if refusal.Hopeless || refusal.Settled && s.shut[p.e.Topic] || p.r.tries >= maxTries {
		if refusal.Settled && len(s.shut) < maxShut {
			s.shut[p.e.Topic] = true
		}
		s.odd.remove(p.e.Seq)
		return true
	}
	s.enter(st, *p)
	if st.waiting[0].e.Seq == p.e.Seq {
		st.due = time.Now().Add(min(retryMin<<(p.r.tries-1), retryMax))
	}
	return false
}

// stall returns the stall of an event's topic, without the event if it was the one that
// was tried. mu is held.
func (s *stalls) stall(p *parcel) *stall {
	st := s.topics[p.e.Topic]
	if st == nil {
		st = &stall{}
		s.topics[p.e.Topic] = st
	}
	if st.trying && st.waiting[0].e.Seq == p.e.Seq {
		st.waiting, st.trying, st.due = st.waiting[1:], false, time.Time{}
	}
	return st
}

// next returns the events that can be sent now, and those that cannot be any more
// without disorder; or when to look again, the zero time for never.
func (s *stalls) next(now time.Time) (send, overtaken []parcel, look time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, st := range s.topics {
		for len(st.waiting) > 0 && !st.trying && st.waiting[0].e.Seq < st.taken {
			overtaken = append(overtaken, st.waiting[0])
			s.odd.remove(st.waiting[0].e.Seq)
			st.waiting = st.waiting[1:]
		}
		switch {
		case st.trying:
		case st.due.IsZero(), len(st.waiting) == 0:
			send = append(send, st.waiting...)
			delete(s.topics, topic)
		case !now.Before(st.due):
			st.trying = true
			send = append(send, st.waiting[0])
		case look.IsZero() || st.due.Before(look):
			look = st.due
		}
	}
	// Topics come in any order, the events of each in theirs.
	slices.SortFunc(send, func(a, b parcel) int { return int(int64(a.e.Seq - b.e.Seq)) })
	return send, overtaken, look
}

// retry sends what waits in stalls when its time has come, until ctx ends.
func (u *Uplink) retry(ctx context.Context, c Conn, f *flow, end context.CancelCauseFunc) {
	for {
		look, err := u.retryNow(ctx, c, f, end)
		if err != nil {
			end(err)
			return
		}
		var due <-chan time.Time
		if !look.IsZero() {
			due = time.After(time.Until(look))
		}
		select {
		case <-due:
		case <-f.stalls.kick:
		case <-ctx.Done():
			return
		}
	}
}

// retryNow sends what can be sent now, and returns when to look again.
func (u *Uplink) retryNow(ctx context.Context, c Conn, f *flow, end context.CancelCauseFunc) (look time.Time, err error) {
	f.sending.Lock()
	defer f.sending.Unlock()
	send, overtaken, look := f.stalls.next(time.Now())
	for i := range overtaken {
		u.setAside(ctx, f, &overtaken[i], errOvertaken)
	}
	if len(send) == 0 {
		return look, nil
	}
	for i := range send {
		u.limit.take(send[i].r.payload.Size())
		f.w.again(send[i].e.Seq)
	}
	return look, u.pass(ctx, c, f, send, end)
}

// setAside puts a refused event into the dead letters.
func (u *Uplink) setAside(ctx context.Context, f *flow, p *parcel, cause error) {
	r := p.r
	r.reason = cause.Error()
	r.reason = r.reason[:min(len(r.reason), maxReason)]
	u.dispose(ctx, f, p.e.Seq, u.bury(ctx, r.append(nil)))
}

func (u *Uplink) bury(ctx context.Context, record []byte) error {
	_, err := u.deps.DeadLetters.Enqueue(ctx, record, true)
	if err == nil {
		u.complain("an event went to the dead letters")
	}
	return err
}

// requeue puts what is odd at the end of the queue, before the gateway stops: with
// new numbers, as nobody would know then which of the old ones are odd.
func (u *Uplink) requeue(ctx context.Context, f *flow) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	o := f.stalls.odd
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, seq := range slices.Sorted(maps.Keys(o.records)) {
		r := o.records[seq]
		if u.shares() {
			r.only = u.name
		}
		if _, err := f.queue.Enqueue(ctx, r.append(nil), true); err != nil {
			u.complain("a refused event could not be kept", "error", err)
			return
		}
		u.dispose(ctx, f, seq, nil)
		delete(o.records, seq)
	}
}
