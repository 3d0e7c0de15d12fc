package websocket

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// keepalive pings a silent peer and drops one that does not answer, closes an idle
// connection, and times pings.
type keepalive struct {
	c         *Conn
	heard     atomic.Int64 // when something last arrived, in Unix nanoseconds, unless the wire knows
	message   atomic.Int64 // when a message last began or ended, in Unix nanoseconds; with Config.Idle only
	roundTrip atomic.Int64 // in nanoseconds

	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	stopped bool
	count   uint64 // pings sent, and the payload of the last one
	pending []ping
}

// ping is one that has not been answered.
type ping struct {
	payload uint64
	sent    time.Time
	back    chan<- time.Duration // nil: nobody waits; otherwise has room for one
}

// maxPending is how many pings are remembered at a time.
const maxPending = 16

func (k *keepalive) start(c *Conn) {
	k.c = c
	k.heard.Store(time.Now().UnixNano())
	if c.wire.in != nil {
		c.wire.in.heard.Store(k.heard.Load())
	}
	k.moved()
	k.mu.Lock()
	defer k.mu.Unlock()
	if next := k.next(time.Now()); next > 0 {
		k.timer = time.AfterFunc(next, k.tend)
	}
}

func (k *keepalive) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stopped = true
	if k.timer != nil {
		k.timer.Stop()
	}
}

// hear takes note that something has arrived, where the wire does not.
func (k *keepalive) hear() {
	if k.c.cfg.PingInterval > 0 && k.c.wire.in == nil {
		k.heard.Store(time.Now().UnixNano())
	}
}

// moved takes note of a message.
func (k *keepalive) moved() {
	if k.c.cfg.Idle > 0 {
		k.message.Store(time.Now().UnixNano())
	}
}

// silent returns for how long nothing has arrived.
func (k *keepalive) silent(now time.Time) time.Duration {
	last := k.heard.Load()
	if in := k.c.wire.in; in != nil {
		if !in.waiting.Load() {
			// What has arrived is not being read: the silence is this side's.
			in.heard.Store(now.UnixNano())
		}
		last = in.heard.Load()
	}
	return time.Duration(now.UnixNano() - last)
}

// next returns when to look again; 0 = never.
func (k *keepalive) next(now time.Time) time.Duration {
	const soonest = time.Millisecond
	var next time.Duration
	if every := k.c.cfg.PingInterval; every > 0 {
		next = every
		if silent := k.silent(now); silent < every {
			next = every - silent
		} else if rest := every + k.c.cfg.PingTimeout - silent; rest < every {
			next = rest
		}
	}
	if idle := k.c.cfg.Idle; idle > 0 {
		rest := idle - time.Duration(now.UnixNano()-k.message.Load())
		if next == 0 || rest < next {
			next = rest
		}
	}
	if next == 0 {
		return 0
	}
	return max(next, soonest)
}

// tend is what the timer runs.
func (k *keepalive) tend() {
	now := time.Now()
	cfg := &k.c.cfg
	if cfg.Idle > 0 && now.UnixNano()-k.message.Load() >= int64(cfg.Idle) {
		why := error(ErrIdle)
		k.c.why.CompareAndSwap(nil, &why)
		_ = k.c.Close(CloseGoingAway, "idle")
		return
	}
	if cfg.PingInterval > 0 {
		switch silent := k.silent(now); {
		case silent >= cfg.PingInterval+cfg.PingTimeout:
			k.c.drop(ErrNoPong)
			return
		case silent >= cfg.PingInterval:
			if k.c.closed.Load() {
				return
			}
			if err := k.ping(nil); err != nil {
				k.c.drop(err)
				return
			}
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.stopped {
		k.timer.Reset(k.next(time.Now()))
	}
}

// ping sends a ping of its own and tells back when the answer comes.
func (k *keepalive) ping(back chan<- time.Duration) error {
	k.mu.Lock()
	k.count++
	payload := binary.BigEndian.AppendUint64(nil, k.count)
	if len(k.pending) == maxPending {
		k.pending = k.pending[:copy(k.pending, k.pending[1:])]
	}
	k.pending = append(k.pending, ping{k.count, time.Now(), back})
	k.mu.Unlock()
	return k.c.SendPing(payload)
}

// pong takes the answer to a ping of ours.
func (k *keepalive) pong(payload string) {
	if len(payload) != 8 {
		return
	}
	n := binary.BigEndian.Uint64([]byte(payload))
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, p := range k.pending {
		if p.payload != n {
			continue
		}
		trip := time.Since(p.sent)
		k.roundTrip.Store(int64(trip))
		if p.back != nil {
			p.back <- trip
		}
		// An answer may be to the last of several pings (RFC 6455, 5.5.3).
		k.pending = k.pending[:copy(k.pending, k.pending[i+1:])]
		return
	}
}

// Ping sends a ping and returns how long its answer has taken. Somebody must be
// reading meanwhile. The error is that of the context, or says that the connection
// is closed.
func (c *Conn) Ping(ctx context.Context) (time.Duration, error) {
	back := make(chan time.Duration, 1)
	if err := c.alive.ping(back); err != nil {
		return 0, err
	}
	select {
	case trip := <-back:
		return trip, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-c.over:
		return 0, net.ErrClosed
	}
}

// SendPing sends a ping with a payload of up to MaxControl bytes. What answers it
// is seen by Handler.Pong.
func (c *Conn) SendPing(payload []byte) error { return c.control(Ping, payload) }

// SendPong sends a pong that nobody has asked for, with a payload of up to
// MaxControl bytes. Pings are answered without.
func (c *Conn) SendPong(payload []byte) error { return c.control(Pong, payload) }

func (c *Conn) control(op Opcode, payload []byte) error {
	if len(payload) > MaxControl {
		return ErrControl
	}
	return c.wire.frame(finalBit|byte(op), payload)
}

// pinged answers a ping.
func (c *Conn) pinged(payload string) error {
	c.alive.hear()
	if c.hooks.Ping != nil {
		c.hooks.Ping(c, []byte(payload))
	}
	err := c.control(Pong, []byte(payload))
	if errors.Is(err, net.ErrClosed) {
		return nil // the other side's close frame is still to be read
	}
	return err
}

// ponged takes the answer to a ping.
func (c *Conn) ponged(payload string) error {
	c.alive.hear()
	c.alive.pong(payload)
	if c.hooks.Pong != nil {
		c.hooks.Pong(c, []byte(payload))
	}
	return nil
}
