package router

import (
	"errors"
	"hash/maphash"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gantry/wamp"
)

// broker routes events. Input: one message of a session; output: messages queued
// at sessions.
type broker struct {
	cfg  *RealmConfig
	meta *meta

	// mu guards the subscription tables. Publications hold it for reading while
	// they queue events.
	mu            sync.RWMutex
	subscriptions table[*subscription]
	byID          map[wamp.ID]*subscription
	lastID        wamp.ID
	room          room

	retained retained
	marks    marks

	published, delivered, dropped, unrecorded atomic.Uint64

	late atomic.Int64 // bytes in the backlogs of all sessions

	scratch sync.Pool // *publication
}

// subscription is one topic or pattern with everybody who asked for it: all
// subscribers of the same URI and policy share one ID
// (AP "Pattern-based Subscriptions").
type subscription struct {
	id      wamp.ID
	topic   wamp.URI
	match   wamp.Match
	created time.Time
	log     Log // keeps its events; nil = they are not kept
	members []*session
	index   map[*session]int // position in members; nil while there are few
	nkeys   nodeKeys         // of the members that gave one; nil = none
}

// indexFrom is the number of members from which a subscription keeps an index:
// below it a scan is as fast and costs no memory.
const indexFrom = 16

func (s *subscription) position(m *session) int {
	if s.index != nil {
		if i, ok := s.index[m]; ok {
			return i
		}
		return -1
	}
	for i, other := range s.members {
		if other == m {
			return i
		}
	}
	return -1
}

func (s *subscription) add(m *session) {
	s.members = append(s.members, m)
	switch {
	case s.index != nil:
		s.index[m] = len(s.members) - 1
	case len(s.members) == indexFrom:
		s.index = make(map[*session]int, 2*indexFrom)
		for i, member := range s.members {
			s.index[member] = i
		}
	}
}

func (s *subscription) remove(m *session) {
	i := s.position(m)
	if i < 0 {
		return
	}
	s.nkeys = s.nkeys.without(m)
	last := len(s.members) - 1
	moved := s.members[last]
	s.members[i] = moved
	s.members[last] = nil
	s.members = s.members[:last]
	if s.index != nil {
		s.index[moved] = i
		delete(s.index, m)
	}
}

// publication is the memory that one PUBLISH needs on its way, reused.
type publication struct {
	event  wamp.Event
	shared wamp.Shared
	hits   []*subscription
}

func newBroker(cfg *RealmConfig, m *meta) *broker {
	b := &broker{
		cfg: cfg, meta: m,
		subscriptions: newTable[*subscription](),
		byID:          map[wamp.ID]*subscription{},
		room:          cfg.room(cfg.MaxTableBytes),
		retained:      retained{maxCount: cfg.MaxRetained, maxBytes: cfg.MaxRetainedBytes, ttl: cfg.RetainedTTL},
		marks:         marks{max: cfg.MaxStreams, seed: maphash.MakeSeed()},
		scratch:       sync.Pool{New: func() any { return new(publication) }},
	}
	for _, h := range cfg.History {
		log := h.Log
		if log == nil {
			orDefault(&h.MaxEvents, 1000)
			log = &memoryLog{records: make([][]byte, h.MaxEvents)}
		}
		b.create(h.Topic, h.Match).log = log
	}
	return b
}

// create enters a new subscription into the tables. mu is held, or the broker not
// in use yet.
func (b *broker) create(topic wamp.URI, match wamp.Match) *subscription {
	b.lastID++
	sub := &subscription{id: b.lastID, topic: ownURI(topic), match: match, created: time.Now()}
	b.subscriptions.put(sub.match, sub.topic, sub)
	b.byID[sub.id] = sub
	if sub.topic.Reserved() {
		b.meta.watchers.Add(1)
	}
	return sub
}

func (b *broker) subscribe(s *session, m *wamp.Subscribe) {
	if m.Options.Match == wamp.MatchInvalid {
		s.refuse(wamp.TypeSubscribe, m.Request, wamp.ErrURIInvalidArgument,
			"the match policy is unknown; allowed: exact, prefix, wildcard")
		return
	}
	if m.Options.Overflow == wamp.OverflowInvalid {
		s.refuse(wamp.TypeSubscribe, m.Request, wamp.ErrURIInvalidArgument,
			"the overflow policy is unknown; allowed: drop_oldest, latest, drop_newest, disconnect")
		return
	}
	if !m.Topic.Valid(b.cfg.StrictURIs, m.Options.Match) {
		s.refuse(wamp.TypeSubscribe, m.Request, wamp.ErrURIInvalidURI, "the topic is no valid URI: "+string(m.Topic))
		return
	}
	if !s.authorized(ActionSubscribe, m.Topic, m.Options.Match, wamp.TypeSubscribe, m.Request) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.gone.Load() {
		return // it has been ended meanwhile, and may have left the tables for good
	}
	sub, ok := b.subscriptions.get(m.Options.Match, m.Topic)
	if !ok || sub.position(s) < 0 {
		if len(s.subscriptions) >= b.cfg.MaxSubscriptions {
			s.refuse(wamp.TypeSubscribe, m.Request, wamp.ErrURILimit, "this session has the most subscriptions it may hold (limits.subscriptions)")
			return
		}
		part, entry := memberSize+len(m.Options.NKey), entryBytes(m.Topic, m.Options.Match)
		if b.room.full(s, s.subscribed, part+entry) {
			s.refuse(wamp.TypeSubscribe, m.Request, wamp.ErrURILimit, "the subscriptions of the realm take the most memory they may take (limits.table_bytes)")
			return
		}
		if !ok {
			sub = b.create(m.Topic, m.Options.Match)
			b.room.used += entry
			b.tell(sub, onSubCreate, s.id, sub.describe())
		}
		sub.add(s)
		sub.nkeys = sub.nkeys.with(s, strings.Clone(m.Options.NKey)) // it is lent
		b.room.used += part
		s.subscribed += part + entry
		b.tell(sub, onSubscribe, s.id, sub.id)
		if s.subscriptions == nil {
			s.subscriptions = map[wamp.ID]*subscription{}
		}
		s.subscriptions[sub.id] = sub
	}
	if m.Options.Overflow != wamp.OverflowDefault {
		if s.overflow == nil {
			s.overflow = map[wamp.ID]wamp.Overflow{}
		}
		s.overflow[sub.id] = m.Options.Overflow
	}
	s.send(&wamp.Subscribed{Request: m.Request, Subscription: sub.id})
	if m.Options.GetRetained {
		b.sendRetained(s, sub)
	}
}

func (b *broker) unsubscribe(s *session, m *wamp.Unsubscribe) {
	b.mu.Lock()
	defer b.mu.Unlock()
	sub, ok := s.subscriptions[m.Subscription]
	if !ok {
		s.refuse(wamp.TypeUnsubscribe, m.Request, wamp.ErrURINoSuchSubscription, "this session does not hold that subscription")
		return
	}
	b.drop(s, sub)
	s.send(&wamp.Unsubscribed{Request: m.Request})
}

func (b *broker) drop(s *session, sub *subscription) {
	delete(s.subscriptions, sub.id)
	delete(s.overflow, sub.id)
	s.forgetReplay(sub)
	if l := s.backlog.Load(); l != nil {
		l.forget(sub.id)
	}
	part, entry := memberSize+len(sub.nkeys[s]), entryBytes(sub.topic, sub.match)
	b.room.used -= part
	s.subscribed -= part + entry
	sub.remove(s)
	b.tell(sub, onUnsubscribe, s.id, sub.id)
	if len(sub.members) == 0 && sub.log == nil {
		b.room.used -= entry
		b.subscriptions.remove(sub.match, sub.topic)
		delete(b.byID, sub.id)
		b.tell(sub, onSubDelete, s.id, sub.id)
		if sub.topic.Reserved() {
			b.meta.watchers.Add(-1)
		}
	}
}

// tell queues a meta event about a subscription. There are none about the
// subscriptions to meta events, which would tell each other for ever.
func (b *broker) tell(sub *subscription, topic wamp.URI, args ...any) {
	if !sub.topic.Reserved() {
		b.meta.tell(topic, args...)
	}
}

// revoke takes a subscription from one session and tells it
// (AP "Subscription Revocation"); false when the session does not hold it.
func (b *broker) revoke(s *session, id wamp.ID, reason wamp.URI) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	sub, ok := s.subscriptions[id]
	if !ok {
		return false
	}
	b.drop(s, sub)
	if s.features.subscriptionRevocation {
		s.send(&wamp.Unsubscribed{Subscription: id, Reason: reason})
	}
	return true
}

// leave forgets a session that has ended.
func (b *broker) leave(s *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, sub := range s.subscriptions {
		b.drop(s, sub)
	}
}

func (b *broker) publish(s *session, m *wamp.Publish) {
	if passesThrough(m.Options.Passthru) && !s.features.publisherPassthru {
		s.violation("a PUBLISH with ppt_scheme of a publisher that has not announced payload_passthru_mode")
		return
	}
	ack := m.Options.Acknowledge
	if !m.Topic.Valid(b.cfg.StrictURIs, wamp.MatchExact) || m.Topic.Reserved() {
		s.refuseOrCount(m, wamp.ErrURIInvalidURI, "the topic is no URI that one may publish to: "+string(m.Topic))
		return
	}
	request := m.Request
	if !ack {
		request = 0
	}
	if o := m.Options.Once; o != nil && len(o.Stream) > maxStream {
		s.refuseOrCount(m, wamp.ErrURIInvalidArgument, "the name of a stream in _once has at most "+strconv.Itoa(maxStream)+" bytes")
		return
	}
	// Before the mark of wamp.Once moves: whoever is refused may try again.
	disclose, ok := s.permitted(ActionPublish, m.Topic, m.Options.DiscloseMe, wamp.TypePublish, request)
	if !ok || ack && !b.keeps(s, m) {
		if ack && m.Options.Once != nil {
			b.marks.refuse(s.identity, m.Options.Once, m.Topic)
		}
		return
	}
	m.Options.DiscloseMe = disclose
	id := newPublicationID()
	if !b.route(s, id, m) {
		s.refuseOrCount(m, wamp.ErrURIInvalidArgument, "it has been refused before, and later ones of its topic have been taken since")
		return
	}
	// One that has been ended meanwhile may have been ended behind a subscriber of its.
	if ack && !s.gone.Load() {
		b.acknowledge(s, request, m.Topic, id)
	}
}

// keeps reports whether an acknowledged publication can be kept where it has to be, and
// answers if not.
func (b *broker) keeps(s *session, m *wamp.Publish) bool {
	if b.cfg.Keep != nil {
		if err := b.cfg.Keep(m.Topic); err != nil {
			s.refuseWith(wamp.TypePublish, m.Request, err)
			return false
		}
	}
	if m.Options.Retain && m.Options.KeepOrRefuse && !b.retained.canKeep(m) {
		s.refuse(wamp.TypePublish, m.Request, wamp.ErrURILimit, "the realm keeps the most last values that it may keep (limits.retained, limits.retained_bytes)")
		return false
	}
	return true
}

// acknowledge answers a publication, as soon as it is where it has to be kept.
func (b *broker) acknowledge(s *session, request wamp.ID, topic wamp.URI, id wamp.ID) {
	if b.cfg.Settle != nil && b.cfg.Settle(topic, func() { s.send(&wamp.Published{Request: request, Publication: id}) }) {
		return
	}
	s.send(&wamp.Published{Request: request, Publication: id})
}

// newPublicationID draws an ID of the global scope (BP "IDs").
func newPublicationID() wamp.ID { return wamp.ID(rand.Uint64N(uint64(wamp.MaxID))) + 1 }

// emit publishes an event of the router's own.
func (b *broker) emit(topic wamp.URI, p wamp.Payload) {
	b.route(nil, newPublicationID(), &wamp.Publish{Topic: topic, Payload: p})
}

// route queues one event at every subscriber, unless it has been routed before
// (wamp.Once). It returns false for one that comes too late for its topic's order. s,
// the publisher, is nil for events of the router itself.
func (b *broker) route(s *session, id wamp.ID, m *wamp.Publish) bool {
	details := wamp.EventDetails{Passthru: m.Options.Passthru}
	if s != nil {
		details.Trustlevel = s.identity.TrustLevel
		if b.cfg.TellOrigin {
			details.From, details.Kept = s.id, m.Options.Retain
		}
	}
	if m.Options.DiscloseMe && s != nil {
		details.Publisher = s.id
		details.PublisherAuthID, details.PublisherAuthRole = s.identity.AuthID, s.identity.AuthRole
	}
	p := b.scratch.Get().(*publication)
	b.mu.RLock()
	// Under the lock, so that nobody who holds it for writing sees a mark that is
	// ahead of what has been routed.
	if m.Options.Once != nil && s != nil {
		if s.gone.Load() { // and is not answered: who sends it again is to be heard
			b.mu.RUnlock()
			b.scratch.Put(p)
			return true
		}
		if at := b.marks.advance(s.identity, m.Options.Once, m.Topic); at != fresh {
			b.mu.RUnlock()
			b.scratch.Put(p)
			return at == repeated
		}
	}
	b.published.Add(1)
	if m.Options.Unretain {
		b.retained.remove(m.Topic)
	} else if m.Options.Retain {
		b.retained.put(m.Topic, id, details, m)
	}
	queued := uint64(0)
	p.hits = b.subscriptions.match(p.hits[:0], m.Topic)
	for _, sub := range p.hits {
		if s == nil && !sub.topic.Reserved() {
			continue
		}
		p.event = wamp.Event{Subscription: sub.id, Publication: id, Details: details, Payload: m.Payload}
		if sub.match != wamp.MatchExact {
			p.event.Details.Topic = m.Topic
		}
		if sub.log != nil {
			b.record(sub.log, id, details, m)
		}
		var msg wamp.Message = &p.event
		if len(sub.members) > 1 {
			p.shared.Msg = &p.event
			msg = &p.shared
		}
		node, sharded := sub.nkeys.node(m.Options.RKey)
		for _, to := range sub.members {
			if to == s && !m.Options.IncludeMe || !receives(to, m.Options.Filter) || sharded && !sub.nkeys.takes(to, node) {
				continue
			}
			queued += b.deliver(to, sub, msg, &p.event, m.Topic)
			if to.gate != nil && s != nil {
				s.hold(to.gate)
			}
		}
		p.shared.Done()
	}
	b.mu.RUnlock()
	b.delivered.Add(queued)
	clear(p.hits)
	p.event = wamp.Event{}
	b.scratch.Put(p)
	return true
}

// count books one delivery. An event that a slow or unable receiver cannot take
// is lost for this receiver alone, and visible in the counters.
func (b *broker) count(to *session, err error) {
	switch {
	case err == nil:
		b.delivered.Add(1)
	case !errors.Is(err, wamp.ErrClosed):
		b.dropped.Add(1)
		to.dropped.Add(1)
		b.meta.realm.rare.Often("event dropped: the subscriber reads too slowly", func() []any {
			return []any{"session", uint64(to.id), "authid", to.identity.AuthID,
				"error", err, "hint", "wamp.session.get tells how many of each; raise limits.queue_bytes, or subscribe to less"}
		})
	}
}

// receives applies the black- and whitelists: all lists that are present combine
// by AND, and a whitelist that is present but empty admits nobody
// (AP "Subscriber Black- and Whitelisting").
func receives(to *session, f *wamp.PublishFilter) bool {
	if f == nil {
		return true
	}
	return !has(f.Exclude, to.id) && !has(f.ExcludeAuthID, to.identity.AuthID) && !has(f.ExcludeAuthRole, to.identity.AuthRole) &&
		(f.Eligible == nil || has(f.Eligible, to.id)) &&
		(f.EligibleAuthID == nil || has(f.EligibleAuthID, to.identity.AuthID)) &&
		(f.EligibleAuthRole == nil || has(f.EligibleAuthRole, to.identity.AuthRole))
}

func has[T comparable](list []T, v T) bool {
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return false
}
