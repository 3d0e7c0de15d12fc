// Package anteroom bounds the connections of those who have not shown yet who they
// are. When a newcomer finds the room full, the one who has waited longest goes,
// among those of the address that most are from: whoever opens connections without
// end drives out his own, and a client that logs in at once gets through.
package anteroom

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Room holds guests. It is safe for concurrent use.
type Room struct {
	max     int
	evicted atomic.Uint64

	mu     sync.Mutex // guards what follows
	count  int
	guests map[netip.Prefix]*queue // by address
}

// Guest is one connection in a Room.
type Guest struct {
	room *Room
	from netip.Prefix
	out  func()

	// Guarded by room.mu.
	here       bool
	prev, next *Guest // in its queue
}

// queue is the guests of one address, longest wait in front.
type queue struct {
	first, last *Guest
	len         int
}

func (q *queue) push(g *Guest) {
	if g.prev = q.last; g.prev == nil {
		q.first = g
	} else {
		g.prev.next = g
	}
	q.last = g
	q.len++
}

func (q *queue) remove(g *Guest) {
	if g.prev == nil {
		q.first = g.next
	} else {
		g.prev.next = g.next
	}
	if g.next == nil {
		q.last = g.prev
	} else {
		g.next.prev = g.prev
	}
	g.prev, g.next = nil, nil
	q.len--
}

// New returns an empty room for so many guests.
func New(guests int) *Room {
	return &Room{max: max(guests, 1), guests: map[netip.Prefix]*queue{}}
}

// Enter lets a connection in: g, which is zero. out is called, in a goroutine of whoever comes next,
// when it has to go; it must not block, and not be waited for with a lock held that
// it needs.
func (r *Room) Enter(g *Guest, remote net.Addr, out func()) {
	*g = Guest{room: r, from: Origin(remote), out: out}
	r.mu.Lock()
	var victim *Guest
	if r.count >= r.max {
		victim = r.longest()
		r.remove(victim)
	}
	q := r.guests[g.from]
	if q == nil {
		q = &queue{}
		r.guests[g.from] = q
	}
	q.push(g)
	g.here = true
	r.count++
	r.mu.Unlock()
	if victim != nil {
		r.evicted.Add(1)
		victim.out()
	}
}

// Leave takes a guest out: it has logged in, or gone. Later calls do nothing.
func (g *Guest) Leave() {
	g.room.mu.Lock()
	defer g.room.mu.Unlock()
	g.room.remove(g)
}

// Len returns how many guests there are.
func (r *Room) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// Evicted returns how many had to go.
func (r *Room) Evicted() uint64 { return r.evicted.Load() }

// longest returns who has waited longest of the address that most are from.
func (r *Room) longest() *Guest {
	var most *queue
	for _, q := range r.guests {
		if most == nil || q.len > most.len {
			most = q
		}
	}
	return most.first
}

func (r *Room) remove(g *Guest) {
	if !g.here {
		return
	}
	q := r.guests[g.from]
	q.remove(g)
	g.here = false
	r.count--
	if q.len == 0 {
		delete(r.guests, g.from)
	}
}

// Origin is what counts as one address: of IPv6 the half that its owner does not
// choose. Everything without an address of its own is one, the zero Prefix.
func Origin(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
