package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// HistoryRule keeps the events of one topic or pattern (AP "Event History"). The
// subscription that they belong to is there from the start and stays, whether or
// not anybody subscribes; wamp.subscription.lookup finds its ID.
type HistoryRule struct {
	Topic wamp.URI
	Match wamp.Match
	// Log keeps the events; nil = in memory, the last MaxEvents.
	Log Log
	// MaxEvents bounds a log in memory. Default 1000.
	MaxEvents int
}

// Log keeps the records of one history, oldest first, numbered 1, 2, 3 and so on.
// It drops the oldest when it is full. It is safe for concurrent use.
type Log interface {
	// Append adds a record, of which it keeps a copy. It is called in the
	// publisher's goroutine and must not wait.
	Append(record []byte) error
	// Last returns the number of the newest record, 0 when there has been none.
	Last() uint64
	// Read hands the records after the number after to each, oldest first, at most
	// limit of them; dropped ones are left out. It returns the number up to which it
	// has read: after when there is nothing more.
	Read(ctx context.Context, after uint64, limit int, each func(seq uint64, record []byte)) (uint64, error)
}

// memoryLog is a Log of the last records in memory.
type memoryLog struct {
	mu      sync.Mutex // guards what follows
	records [][]byte   // a ring
	last    uint64
}

func (l *memoryLog) Append(record []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records[l.last%uint64(len(l.records))] = append([]byte(nil), record...)
	l.last++
	return nil
}

func (l *memoryLog) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func (l *memoryLog) Read(_ context.Context, after uint64, limit int, each func(uint64, []byte)) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := uint64(len(l.records)); l.last > n {
		after = max(after, l.last-n)
	}
	for ; after < l.last && limit > 0; limit-- {
		each(after+1, l.records[after%uint64(len(l.records))])
		after++
	}
	return after, nil
}

// happened is one event of a history.
type happened struct {
	seq         uint64 // its record in the log
	at          time.Time
	publication wamp.ID
	topic       wamp.URI
	details     wamp.EventDetails
	filter      *wamp.PublishFilter // of authids and authroles; nil = for everybody
	payload     wamp.Payload        // raw, CBOR
}

// record appends the event of a publication to the log of a subscription. What is
// for or not for certain sessions is left out: session IDs mean nothing later.
func (b *broker) record(log Log, id wamp.ID, details wamp.EventDetails, m *wamp.Publish) {
	if f := m.Options.Filter; f != nil && (f.Exclude != nil || f.Eligible != nil) {
		return
	}
	h := happened{at: b.cfg.Now(), publication: id, topic: m.Topic, details: details, filter: m.Options.Filter, payload: m.Payload}
	record, err := h.encode()
	if err == nil {
		err = log.Append(record)
	}
	if err != nil {
		b.unrecorded.Add(1)
		b.meta.realm.rare.Warn("event not recorded in its history", "topic", string(m.Topic), "error", err, "hint", "look at the store and its disk")
	}
}

// encode writes an event as one CBOR list: time in microseconds, publication,
// topic, publisher with authid and authrole, trust level, passthru, filter, and the
// payload's two parts as they would stand in a message.
func (h *happened) encode() ([]byte, error) {
	payload, err := serialize.Encode(wamp.CBOR, h.payload)
	if err != nil {
		return nil, err
	}
	args, kwargs := payload.Raw()
	d := &h.details
	var trust, ppt, filter any
	if d.Trustlevel != nil {
		trust = *d.Trustlevel
	}
	if p := d.Passthru; p != nil {
		ppt = wamp.List{p.Scheme, p.Serializer, p.Cipher, p.KeyID}
	}
	if f := h.filter; f != nil {
		filter = wamp.List{nullable(f.ExcludeAuthID), nullable(f.EligibleAuthID), nullable(f.ExcludeAuthRole), nullable(f.EligibleAuthRole)}
	}
	return serialize.AppendValue(nil, wamp.CBOR, wamp.List{
		h.at.UnixMicro(), h.publication, string(h.topic), d.Publisher, d.PublisherAuthID, d.PublisherAuthRole, trust, ppt, filter, args, kwargs,
	})
}

// nullable keeps a list that is absent apart from one that is empty.
func nullable(texts []string) any {
	if texts == nil {
		return nil
	}
	return texts
}

var errHistory = errors.New("not an event of a history")

func parseHappened(record []byte) (h happened, err error) {
	v, err := serialize.ParseValue(wamp.CBOR, record, serialize.Limits{Bytes: len(record)})
	if err != nil {
		return h, err
	}
	l, ok := v.(wamp.List)
	if !ok || len(l) != 11 {
		return h, errHistory
	}
	at, ok1 := l[0].(int64)
	publication, ok2 := l[1].(int64)
	topic, ok3 := l[2].(string)
	publisher, ok4 := l[3].(int64)
	if !ok1 || !ok2 || !ok3 || !ok4 || wamp.ID(publication) > wamp.MaxID || wamp.ID(publisher) > wamp.MaxID {
		return h, errHistory
	}
	h.at, h.publication, h.topic, h.details.Publisher = time.UnixMicro(at), wamp.ID(publication), wamp.URI(topic), wamp.ID(publisher)
	h.details.PublisherAuthID, _ = l[4].(string)
	h.details.PublisherAuthRole, _ = l[5].(string)
	if n, ok := l[6].(int64); ok {
		level := uint32(n)
		h.details.Trustlevel = &level
	}
	if p := textsOf(l[7]); len(p) == 4 {
		h.details.Passthru = &wamp.Passthru{Scheme: p[0], Serializer: p[1], Cipher: p[2], KeyID: p[3]}
	}
	if f, ok := l[8].(wamp.List); ok && len(f) == 4 {
		h.filter = &wamp.PublishFilter{ExcludeAuthID: textsOf(f[0]), EligibleAuthID: textsOf(f[1]), ExcludeAuthRole: textsOf(f[2]), EligibleAuthRole: textsOf(f[3])}
	}
	args, _ := l[9].([]byte)
	kwargs, _ := l[10].([]byte)
	h.payload = wamp.RawPayload(wamp.CBOR, args, kwargs)
	return h, nil
}

// dict returns the event as get_events does.
func (h *happened) dict(subscription wamp.ID) (wamp.Dict, error) {
	args, kwargs, err := serialize.Values(h.payload)
	if err != nil {
		return nil, err
	}
	details := wamp.Dict{"topic": string(h.topic)}
	d := &h.details
	if d.Publisher != 0 {
		details["publisher"], details["publisher_authid"], details["publisher_authrole"] = d.Publisher, d.PublisherAuthID, d.PublisherAuthRole
	}
	if d.Trustlevel != nil {
		details["trustlevel"] = *d.Trustlevel
	}
	if p := d.Passthru; p != nil {
		for key, text := range map[string]string{"ppt_scheme": p.Scheme, "ppt_serializer": p.Serializer, "ppt_cipher": p.Cipher, "ppt_keyid": p.KeyID} {
			if text != "" {
				details[key] = text
			}
		}
	}
	ev := wamp.Dict{"timestamp": stamp(h.at), "subscription": subscription, "publication": h.publication, "details": details}
	if args != nil {
		ev["args"] = args
	}
	if kwargs != nil {
		ev["kwargs"] = kwargs
	}
	return ev, nil
}

// Bounds of one answer of get_events.
const (
	historyEvents = 1000
	historyBytes  = 256 << 10
	historyBatch  = 200
)

// A page of a history begins behind a record, found by its number: publications have
// no order, so one that is to follow a publication is looked for from the start.
const (
	cursorKey = "_after_record" // argument: what came after that record, 0 = all
	recordKey = "_record"       // of the events of such an answer
)

// query is what get_events is asked for.
type query struct {
	reverse             bool
	numbered            bool   // by record, which is given
	record              uint64 // after it
	limit               int
	from, after         time.Time // at or after; after
	before, until       time.Time // before; at or before
	topic               wamp.URI
	fromPub, afterPub   wamp.ID
	beforePub, untilPub wamp.ID
}

func (a *metaArgs) query() query {
	q := query{limit: historyEvents, topic: wamp.URI(a.option("topic"))}
	if v, given := a.dict["reverse"]; given && v != nil {
		b, ok := v.(bool)
		if !ok {
			a.complain("reverse is neither true nor false")
		}
		q.reverse = b
	}
	if v, given := a.dict["limit"]; given && v != nil {
		n, ok := v.(int64)
		if !ok || n < 1 {
			a.complain("limit is no positive integer")
		}
		q.limit = int(min(max(n, 1), historyEvents))
	}
	if v, given := a.dict[cursorKey]; given && v != nil {
		n, ok := v.(int64)
		if !ok || n < 0 {
			a.complain(cursorKey + " is no integer from 0 on")
		}
		q.numbered, q.record = true, uint64(max(n, 0))
	}
	for key, t := range map[string]*time.Time{"from_time": &q.from, "after_time": &q.after, "before_time": &q.before, "until_time": &q.until} {
		text := a.option(key)
		if text == "" {
			continue
		}
		var err error
		if *t, err = time.Parse(time.RFC3339, text); err != nil {
			a.complain(key + " is no time such as 2026-01-31T12:00:00Z")
		}
	}
	for key, id := range map[string]*wamp.ID{
		"from_publication": &q.fromPub, "after_publication": &q.afterPub, "before_publication": &q.beforePub, "until_publication": &q.untilPub,
	} {
		if v, given := a.dict[key]; given && v != nil {
			n, ok := v.(int64)
			if !ok || !wamp.ID(n).Valid() {
				a.complain(key + " is no ID")
			}
			*id = wamp.ID(n)
		}
	}
	return q
}

// takes reports whether a time and topic are asked for. Times are compared as they
// are told, in milliseconds: otherwise what happened at a time would also have
// happened after it.
func (q *query) takes(h *happened) bool {
	at := h.at.Truncate(time.Millisecond)
	return (q.from.IsZero() || !at.Before(q.from)) && (q.after.IsZero() || at.After(q.after)) &&
		(q.before.IsZero() || at.Before(q.before)) && (q.until.IsZero() || !at.After(q.until)) &&
		(q.topic == "" || q.topic == h.topic)
}

// getEvents is wamp.subscription.get_events. Whoever asks must be allowed to
// subscribe, and sees what a subscriber of its authid and role would have seen.
func (m *meta) getEvents(s *session, a *metaArgs) (any, *wamp.Error) {
	id, q := a.id(0, "subscription"), a.query()
	b := m.realm.broker
	b.mu.RLock()
	sub := b.byID[id]
	b.mu.RUnlock()
	if sub == nil || a.wrong != nil {
		return nil, cmp.Or(a.wrong, errNoSuchSubscription)
	}
	if refusal := s.mayDo(ActionSubscribe, sub.topic, sub.match); refusal != nil {
		return nil, refusal
	}
	events := wamp.List{}
	if sub.log == nil {
		return events, nil // nothing is kept of it
	}
	w := historyWalk{log: sub.log, query: &q, session: s, amend: b.cfg.Amend}
	err := w.walk(func(h *happened) (bool, error) {
		ev, err := h.dict(sub.id)
		if err != nil {
			return false, err
		}
		if q.numbered {
			ev[recordKey] = int64(h.seq)
		}
		events = append(events, ev)
		return len(events) < q.limit, nil
	})
	if err != nil {
		m.realm.rare.Log(slog.LevelError, "event history cannot be read", "topic", string(sub.topic), "error", err)
		return nil, wamp.NewError(wamp.ErrURIRuntimeError, "the history cannot be read", nil)
	}
	return events, nil
}

// historyWalk goes through a log in the direction of a query.
type historyWalk struct {
	log     Log
	query   *query
	session *session
	amend   func(wamp.URI, wamp.Payload) (wamp.Payload, time.Duration)
	bytes   int // taken so far
}

// walk hands what the query asks for to take, until it reports false. Publication
// IDs have no order, so the bounds given by them are found on the way.
func (w *historyWalk) walk(take func(*happened) (bool, error)) error {
	q := w.query
	// In the direction of travel: where to begin, and where to end.
	first, firstIncluded, last, lastIncluded := cmp.Or(q.fromPub, q.afterPub), q.fromPub != 0, cmp.Or(q.untilPub, q.beforePub), q.untilPub != 0
	if q.reverse {
		first, firstIncluded, last, lastIncluded = last, lastIncluded, first, firstIncluded
	}
	begun := first == 0
	return w.each(func(h *happened) (bool, error) {
		switch {
		case h.seq <= q.record: // backwards; forwards it is where each begins
			return false, nil
		case !begun && h.publication == first:
			begun = true
			if !firstIncluded {
				return true, nil
			}
		case !begun:
			return true, nil
		}
		if last != 0 && h.publication == last && !lastIncluded {
			return false, nil
		}
		if q.takes(h) && receives(w.session, h.filter) {
			if w.bytes += h.payload.Size(); w.bytes > historyBytes && w.bytes > h.payload.Size() {
				return false, nil
			}
			if more, err := take(h); !more || err != nil {
				return false, err
			}
		}
		return last == 0 || h.publication != last, nil
	})
}

// each reads the log batch by batch, forwards or backwards.
func (w *historyWalk) each(f func(*happened) (bool, error)) error {
	if w.query.reverse {
		return w.backwards(f)
	}
	for at := w.query.record; ; {
		batch, next, err := w.read(at, historyBatch, math.MaxUint64)
		if err != nil || next == at {
			return err
		}
		at = next
		for i := range batch {
			if more, err := f(&batch[i]); !more || err != nil {
				return err
			}
		}
	}
}

func (w *historyWalk) backwards(f func(*happened) (bool, error)) error {
	for end := w.log.Last(); end > 0; {
		after := end - min(end, historyBatch)
		var batch []happened
		// A read may stop short of what it was asked for.
		for at := after; at < end; {
			part, next, err := w.read(at, int(end-at), end)
			if err != nil {
				return err
			}
			if next == at {
				break
			}
			at = next
			batch = append(batch, part...)
		}
		if len(batch) == 0 {
			var err error
			if end, err = w.newest(after); err != nil {
				return err
			}
			continue
		}
		for i := range batch {
			if more, err := f(&batch[len(batch)-1-i]); !more || err != nil {
				return err
			}
		}
		end = after
	}
	return nil
}

// newest returns the number of the newest record up to end, across a hole that damage
// or a full disk has left; 0 if all of them have been dropped.
func (w *historyWalk) newest(end uint64) (uint64, error) {
	low, err := w.first(0)
	if err != nil || low > end {
		return 0, err
	}
	// There is a record low, and none behind high up to end.
	for high := end; low < high; {
		middle := low + (high-low)/2
		next, err := w.first(middle)
		switch {
		case err != nil:
			return 0, err
		case next <= end:
			low = next
		default:
			high = middle
		}
	}
	return low, nil
}

// first returns the number of the first record after one, math.MaxUint64 if there is
// none.
func (w *historyWalk) first(after uint64) (uint64, error) {
	for {
		found := uint64(math.MaxUint64)
		next, err := w.log.Read(context.Background(), after, 1, func(seq uint64, _ []byte) { found = seq })
		if err != nil || found != math.MaxUint64 || next == after {
			return found, err
		}
		after = next
	}
}

// read returns the events of at most limit records after a number, those up to
// until, and up to where it has read.
func (w *historyWalk) read(after uint64, limit int, until uint64) (batch []happened, next uint64, err error) {
	var bad error
	next, err = w.log.Read(context.Background(), after, limit, func(seq uint64, record []byte) {
		h, err := parseHappened(record)
		if err != nil {
			bad = fmt.Errorf("record %d: %w", seq, err)
			return
		}
		if h.details.Passthru == nil {
			var late time.Duration
			h.payload, late = w.amend(h.topic, h.payload)
			h.at = h.at.Add(late)
		}
		h.seq = seq
		if seq <= until { // others came in the place of dropped ones
			batch = append(batch, h)
		}
	})
	return batch, next, cmp.Or(err, bad)
}
