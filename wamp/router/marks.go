package router

import (
	"container/list"
	"hash/maphash"
	"maps"
	"slices"
	"sync"

	"gantry/wamp"
)

// maxStream is the longest name of a stream in bytes.
const maxStream = 255

// marks keeps the highest (epoch, sequence) of streams, so that what a publisher
// sends again after a lost acknowledgement is routed once (wamp.Once). The mark
// used least recently goes when there are too many.
type marks struct {
	max int

	mu      sync.Mutex
	streams map[string]*list.Element // key: authid, NUL, stream
	recent  list.List                // of *mark, most recent first
	moved   int                      // those of them that have moved since they were handed out
	gone    []string                 // keys of those that were handed out, and are forgotten since
	key     []byte
	skipped uint64
	strays  int          // of all streams
	seed    maphash.Seed // of the hashes of topics
}

type mark struct {
	key        string
	epoch, seq uint64
	moved      bool    // since it was handed out
	known      bool    // it has been handed out
	strays     []stray // oldest first
}

const (
	// maxStrays bounds the strays known of a stream; the oldest goes. An uplink with a
	// longer window can have more: of those too a lost refusal is taken for a repetition,
	// and what it sends again may be routed twice.
	maxStrays = 64
	// maxAllStrays bounds those of all streams together, in memory about 600 KiB. Over it
	// there are no new ones: a refusal whose answer is lost is then taken for a repetition.
	maxAllStrays = 16384
)

// stray is a publication out of its stream's order: refused, though the publisher may
// not know, as the answer can be lost with the connection, or routed behind later ones
// because of such a one. The mark says nothing about it.
type stray struct {
	epoch, seq uint64
	topic      uint64 // its hash
	state      strayState
}

type strayState uint8

const (
	strayRefused   strayState = iota
	strayOvertaken            // refused, and a later one of its topic has been routed
	strayRouted
)

// standing is what to make of a publication by the mark of its stream.
type standing uint8

const (
	fresh     standing = iota // route it
	repeated                  // it has been routed
	overtaken                 // it has been refused, and to route it now would break the topic's order
)

// refuse notes that a publication has been refused. Whoever is refused may be anybody:
// no mark of another stream goes for that, and none counts as used.
func (k *marks) refuse(who Identity, o *wamp.Once, topic wamp.URI) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.find(who, o.Stream)
	if e == nil {
		if len(k.streams) >= k.max {
			return
		}
		// The first to go, and nothing to hand out before something is routed.
		e = k.recent.PushBack(&mark{key: string(k.key)})
		k.enlist(e)
	}
	if m := e.Value.(*mark); m.stray(o) < 0 {
		k.enter(m, o, topic, strayRefused)
	}
}

// advance tells where o stands by the mark of its stream, and moves the mark.
func (k *marks) advance(who Identity, o *wamp.Once, topic wamp.URI) standing {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.find(who, o.Stream)
	if e == nil {
		k.add(&mark{key: string(k.key), epoch: o.Epoch, seq: o.Seq})
		return fresh
	}
	k.recent.MoveToFront(e)
	m := e.Value.(*mark)
	i := m.stray(o)
	if o.Epoch > m.epoch || o.Epoch == m.epoch && o.Seq > m.seq {
		m.epoch, m.seq = o.Epoch, o.Seq
		k.note(m, true)
		if i >= 0 {
			k.forget(m, i)
		}
		if len(m.strays) > 0 {
			m.overtake(k.hash(topic))
		}
		return fresh
	}
	switch {
	case i < 0 && o.Again:
		k.enter(m, o, topic, strayRouted)
	case i < 0 || m.strays[i].state == strayRouted:
		k.skipped++
		return repeated
	case m.strays[i].state == strayOvertaken && !o.Again:
		return overtaken
	default:
		m.strays[i].state = strayRouted
	}
	return fresh
}

// stray returns the index of a publication among the strays, or -1.
func (m *mark) stray(o *wamp.Once) int {
	return slices.IndexFunc(m.strays, func(s stray) bool { return s.epoch == o.Epoch && s.seq == o.Seq })
}

// overtake notes that a publication to topic has been routed.
func (m *mark) overtake(topic uint64) {
	for i := range m.strays {
		if s := &m.strays[i]; s.topic == topic && s.state == strayRefused {
			s.state = strayOvertaken
		}
	}
}

// enter adds a stray.
func (k *marks) enter(m *mark, o *wamp.Once, topic wamp.URI, state strayState) {
	if len(m.strays) == maxStrays {
		k.forget(m, 0)
	}
	if k.strays < maxAllStrays {
		m.strays = append(m.strays, stray{o.Epoch, o.Seq, k.hash(topic), state})
		k.strays++
	}
}

// forget removes a stray.
func (k *marks) forget(m *mark, i int) {
	m.strays = slices.Delete(m.strays, i, i+1)
	k.strays--
}

func (k *marks) hash(topic wamp.URI) uint64 { return maphash.String(k.seed, string(topic)) }

// find returns the mark of a stream, or nil; its key is in k.key.
func (k *marks) find(who Identity, stream string) *list.Element {
	authID := who.AuthID
	if who.AuthMethod == methodAnonymous {
		// An anonymous authid is new with each session; the stream's name is all
		// there is to know the publisher by.
		authID = ""
	}
	k.key = append(append(append(k.key[:0], authID...), 0), stream...)
	return k.streams[string(k.key)]
}

// add adds a mark as the most recent one.
func (k *marks) add(m *mark) {
	if len(k.streams) >= k.max {
		oldest := k.recent.Back()
		old := oldest.Value.(*mark)
		delete(k.streams, old.key)
		k.recent.Remove(oldest)
		k.strays -= len(old.strays)
		k.note(old, false)
		if old.known {
			k.gone = append(k.gone, old.key)
		}
	}
	k.enlist(k.recent.PushFront(m))
	k.note(m, !m.known)
}

// enlist makes a mark findable.
func (k *marks) enlist(e *list.Element) {
	if k.streams == nil {
		k.streams = map[string]*list.Element{}
	}
	k.streams[e.Value.(*mark).key] = e
}

// note notes whether a mark has moved.
func (k *marks) note(m *mark, moved bool) {
	if moved && !m.moved {
		k.moved++
	} else if !moved && m.moved {
		k.moved--
	}
	m.moved = moved
}

// take hands out up to limit marks that have moved, least recent first, and the keys
// of those that are forgotten.
func (k *marks) take(limit int) (moved []mark, gone []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	gone, k.gone = k.gone, nil
	for e := k.recent.Back(); e != nil && k.moved > 0 && len(moved) < limit; e = e.Prev() {
		if m := e.Value.(*mark); m.moved {
			k.note(m, false)
			m.known = true
			moved = append(moved, *m)
		}
	}
	return moved, gone
}

// Mark is how far the publications of a stream have been routed (wamp.Once).
type Mark struct {
	Realm wamp.URI
	// Key names the stream within the realm: the publisher's authid, a NUL, and the
	// stream's name of up to 255 bytes. Anonymous publishers have no authid.
	Key        string
	Epoch, Seq uint64
}

// TakeMarks returns up to limit marks of the configured realms that have moved since
// they were taken, least recently used first, and those that were taken and have been
// forgotten since because there were too many. What a mark covers has been queued at
// every subscriber and appended to every history. Only one caller may take them: who
// keeps them over a restart, deleting first what has gone.
func (r *Router) TakeMarks(limit int) (moved, gone []Mark) {
	for _, name := range r.lasting() {
		b := r.find(name).broker
		b.mu.Lock()
		m, keys := b.marks.take(limit - len(moved))
		b.mu.Unlock()
		for i := range m {
			moved = append(moved, Mark{name, m[i].key, m[i].epoch, m[i].seq})
		}
		for _, key := range keys {
			gone = append(gone, Mark{Realm: name, Key: key})
		}
	}
	return moved, gone
}

// RestoreMarks puts marks back as they were taken before a restart, least recently used
// first, before anybody publishes. It returns those of realms that are not there.
func (r *Router) RestoreMarks(taken []Mark) (homeless []Mark) {
	known := r.lasting()
	for _, t := range taken {
		if !slices.Contains(known, t.Realm) {
			homeless = append(homeless, t)
			continue
		}
		k := &r.find(t.Realm).broker.marks
		k.mu.Lock()
		k.add(&mark{key: t.Key, epoch: t.Epoch, seq: t.Seq, known: true})
		k.mu.Unlock()
	}
	return homeless
}

// lasting returns the realms that were not made on demand, in order.
func (r *Router) lasting() []wamp.URI {
	r.realmsMu.RLock()
	defer r.realmsMu.RUnlock()
	names := slices.Sorted(maps.Keys(r.realms))
	return slices.DeleteFunc(names, func(n wamp.URI) bool { return r.realms[n].onDemand })
}
