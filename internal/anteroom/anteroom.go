// Package anteroom bounds the connections of those who have not shown yet who they
// are. When a newcomer finds the room full, the one who has waited longest goes,
// among those of the address that most are from: whoever opens connections without
// end drives out his own, and a client that logs in at once gets through.
package anteroom

import (
	"container/list"
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
	guests map[netip.Prefix]*list.List // of *Guest by address, longest wait in front
}

// Guest is one connection in a Room.
type Guest struct {
	room *Room
	from netip.Prefix
	out  func()

	at *list.Element // nil once it has left; guarded by room.mu
}

// New returns an empty room for so many guests.
func New(guests int) *Room {
	return &Room{max: max(guests, 1), guests: map[netip.Prefix]*list.List{}}
}

// Enter lets a connection in. out is called, in a goroutine of whoever comes next,
// when it has to go; it must not block, and not be waited for with a lock held that
// it needs.
func (r *Room) Enter(remote net.Addr, out func()) *Guest {
	g := &Guest{room: r, from: origin(remote), out: out}
	r.mu.Lock()
	var victim *Guest
	if r.count >= r.max {
		victim = r.longest()
		r.remove(victim)
	}
	l := r.guests[g.from]
	if l == nil {
		l = list.New()
		r.guests[g.from] = l
	}
	g.at = l.PushBack(g)
	r.count++
	r.mu.Unlock()
	if victim != nil {
		r.evicted.Add(1)
		victim.out()
	}
	return g
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
	var most *list.List
	for _, l := range r.guests {
		if most == nil || l.Len() > most.Len() {
			most = l
		}
	}
	return most.Front().Value.(*Guest)
}

func (r *Room) remove(g *Guest) {
	if g.at == nil {
		return
	}
	l := r.guests[g.from]
	l.Remove(g.at)
	g.at = nil
	r.count--
	if l.Len() == 0 {
		delete(r.guests, g.from)
	}
}

// origin is what counts as one address: of IPv6 the half that its owner does not
// choose. Everything without an address of its own is one.
func origin(a net.Addr) netip.Prefix {
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
