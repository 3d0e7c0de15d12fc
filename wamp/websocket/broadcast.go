package websocket

import (
	"compress/flate"
	"context"
	"sync"
	"sync/atomic"
)

// Prepared is a message that is encoded once, however many connections it is sent
// to. Frames of a client are masked anew for each, as they must be.
type Prepared struct {
	op    Opcode
	data  []byte
	frame []byte // of a server

	once    sync.Once // does what follows
	small   []byte    // data compressed; nil if that is not shorter
	smaller []byte    // frame of a server with small
}

// Prepare encodes a message, Text or Binary, that is to be sent to many. b may be
// used again afterwards.
func Prepare(op Opcode, b []byte) (*Prepared, error) {
	if op != Text && op != Binary {
		return nil, ErrOpcode
	}
	p := &Prepared{op: op, frame: wholeFrame(op, b)}
	p.data = p.frame[len(p.frame)-len(b):]
	return p, nil
}

// Len returns the size of the message in bytes.
func (p *Prepared) Len() int { return len(p.data) }

func wholeFrame(op Opcode, b []byte) []byte {
	frame := make([]byte, HeaderLen(len(b), false), MaxHeader+len(b))
	PutHeader(frame, op, len(b), nil)
	return append(frame, b...)
}

// deflate compresses the message if nobody has yet.
func (p *Prepared) deflate() {
	p.once.Do(func() {
		d := getDeflater(flate.BestSpeed)
		defer d.release()
		if small := d.message(p.data); len(small) < len(p.data) {
			p.smaller = wholeFrame(p.op|Deflated, small)
			p.small = p.smaller[len(p.smaller)-len(small):]
		}
	})
}

// WritePrepared is Write for a prepared message, which is sent as one frame and
// compressed at level 1, or not at all to a receiver of a smaller Window.
func (c *Conn) WritePrepared(p *Prepared) error {
	if err := c.begin(context.Background()); err != nil {
		return err
	}
	defer c.done()
	frame, op, data := p.frame, p.op, p.data
	if c.window == fullWindow && len(data) >= c.cfg.DeflateFrom {
		if p.deflate(); p.small != nil {
			frame, op, data = p.smaller, op|Deflated, p.small
		}
	}
	if c.server {
		return c.wire.whole(frame)
	}
	return c.wire.frame(finalBit|byte(op), data)
}

// SlowPolicy is what a Broadcast does when a message does not fit into the queue of
// a receiver.
type SlowPolicy int

// The policies for slow receivers. Drops are counted.
const (
	DropNewest SlowPolicy = iota // the message that does not fit
	DropOldest                   // as many of those that wait as is necessary
	Disconnect                   // the receiver, without a close frame that it would not take either; its Read returns ErrSlow
)

// DefaultQueue is the size of a receiver's queue in bytes.
const DefaultQueue = 256 << 10

// BroadcastConfig bounds what a Broadcast keeps for each receiver. The zero value
// means the defaults.
type BroadcastConfig struct {
	// Queue is how many bytes of messages wait for a receiver at most, besides the
	// one that is being written; 0 means DefaultQueue. A message that is longer is
	// sent only when nothing waits.
	Queue int
	// Slow is what happens when that is not enough.
	Slow SlowPolicy
}

// Broadcast sends messages to many connections, none of which holds up another or
// the sender. It is safe for concurrent use.
type Broadcast struct {
	cfg BroadcastConfig

	mu      sync.RWMutex // guards members
	members map[*Member]struct{}

	sent, dropped, disconnected atomic.Uint64
}

// NewBroadcast returns a Broadcast without receivers.
func NewBroadcast(cfg BroadcastConfig) *Broadcast {
	if cfg.Queue <= 0 {
		cfg.Queue = DefaultQueue
	}
	return &Broadcast{cfg: cfg, members: map[*Member]struct{}{}}
}

// Member is a receiver of a Broadcast.
type Member struct {
	b *Broadcast
	c *Conn

	dropped atomic.Uint64

	mu      sync.Mutex // guards what follows
	queue   []*Prepared
	size    int // of queue in bytes
	gone    bool
	writing chan struct{} // closed by the goroutine that writes when it ends; nil: there is none
}

// Join makes c a receiver until Leave.
func (b *Broadcast) Join(c *Conn) *Member {
	m := &Member{b: b, c: c}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.members[m] = struct{}{}
	return m
}

// Leave ends it. What waits is not sent. Leave waits for the message that is being
// written; to have that end at once, close the connection before.
func (m *Member) Leave() {
	m.b.mu.Lock()
	delete(m.b.members, m)
	m.b.mu.Unlock()
	m.mu.Lock()
	m.gone = true
	m.clear()
	writing := m.writing
	m.mu.Unlock()
	if writing != nil {
		<-writing
	}
}

// Dropped returns how many messages this receiver has missed.
func (m *Member) Dropped() uint64 { return m.dropped.Load() }

// clear empties the queue. mu is held.
func (m *Member) clear() { m.queue, m.size = nil, 0 }

// BroadcastStats is what a Broadcast has done.
type BroadcastStats struct {
	Members      int    // at present
	Sent         uint64 // messages that were queued, counted for each receiver
	Dropped      uint64 // messages that were not, or were dropped later
	Disconnected uint64 // receivers
}

// Stats returns the statistics.
func (b *Broadcast) Stats() BroadcastStats {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return BroadcastStats{len(b.members), b.sent.Load(), b.dropped.Load(), b.disconnected.Load()}
}

// Send queues a message for every receiver. It does not block.
func (b *Broadcast) Send(p *Prepared) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for m := range b.members {
		m.send(p)
	}
}

// send queues p, or does what the policy says.
func (m *Member) send(p *Prepared) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone {
		return
	}
	for m.size+len(p.data) > m.b.cfg.Queue && len(m.queue) > 0 {
		switch m.b.cfg.Slow {
		case DropOldest:
			m.pop()
			m.drop(1)
			continue
		case Disconnect:
			m.drop(len(m.queue) + 1)
			m.clear()
			m.gone = true
			m.b.disconnected.Add(1)
			m.c.drop(ErrSlow)
			return
		}
		m.drop(1)
		return
	}
	m.b.sent.Add(1)
	m.queue = append(m.queue, p)
	m.size += len(p.data)
	if m.writing == nil {
		m.writing = make(chan struct{})
		go m.write(m.writing)
	}
}

func (m *Member) drop(n int) {
	m.dropped.Add(uint64(n))
	m.b.dropped.Add(uint64(n))
}

// pop takes the oldest message from the queue. mu is held.
func (m *Member) pop() *Prepared {
	p := m.queue[0]
	m.queue[0] = nil
	m.queue = m.queue[1:]
	m.size -= len(p.data)
	return p
}

// write sends what waits until nothing does or the connection has failed.
func (m *Member) write(ended chan struct{}) {
	defer close(ended)
	for {
		m.mu.Lock()
		if len(m.queue) == 0 {
			m.writing = nil
			m.clear()
			m.mu.Unlock()
			return
		}
		p := m.pop()
		m.mu.Unlock()
		if m.c.WritePrepared(p) != nil {
			m.mu.Lock()
			m.gone = true // its reader learns why
			m.clear()
			m.mu.Unlock()
		}
	}
}
