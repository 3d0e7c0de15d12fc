package transport

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// link is a network connection with a queue in front and borrowed memory behind
// it. Both protocols are built on it.
type link struct {
	queue
	conn  net.Conn
	under net.Conn // conn without TLS
	opts  *Options
	raw   syscall.RawConn // conn without the waiting; nil if that is not possible
	turns *turns          // nil at a client
	visit *visit          // nil at a client

	// The reading side, owned by whoever holds recv.
	recv    sync.Mutex
	decoder *serialize.Decoder // nil during the handshake
	in      *buffer            // nil while nothing has been read ahead
	pos     int                // first unread byte of in
	want    int                // bytes from pos on that the next message has
	turn    uint64             // epoch of the turn of the receiving goroutine, 0 = none
	eof     bool               // the other side has finished sending
	readErr error              // the error that ended reading
	claimed int                // bytes of memory taken for the message that arrives
	readN   int                // result of tryRead
	readE   error
	readFn  func(fd uintptr) bool

	// The writing side, owned by whoever has set writing.
	flight  [][]byte  // taken from the queue
	held    []*buffer // what those of flight lie in, see queue.bufs
	pending int       // bytes of flight that still count in size
	sent    int       // those of them that have been written

	heard   atomic.Int64  // when something last arrived, see Options.now
	arrived atomic.Uint64 // bytes
	alarm   *time.Timer   // runs keepalive; nil when off

	giveUp    func()      // ends waiting for memory; nil when nobody waits; guarded by queue.mu
	handling  atomic.Bool // handshake is over: writes go through the queue
	closeOnce sync.Once
	wg        sync.WaitGroup // writers
}

// errSilent is the reason why a connection was dropped by the keepalive.
var errSilent = errors.New("the other side is silent and answers no ping")

func (l *link) init(conn net.Conn, opts *Options, t *turns) {
	l.conn, l.under, l.opts, l.turns = conn, conn, opts, t
	if tc, ok := conn.(*tls.Conn); ok {
		l.under = tc.NetConn()
	}
	l.limit = opts.Queue
	l.raw = rawConn(conn)
	if l.raw != nil {
		l.readFn = l.tryRead
	}
}

// Traffic returns the bytes received and sent. See wamp.Metered.
func (l *link) Traffic() (received, sent uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.arrived.Load(), l.written
}

// schedule has the queue drained, by the end of a turn or a goroutine of its
// own. The caller holds the promise to write and l.mu; l.err is nil.
func (l *link) schedule() {
	if l.turns != nil && l.raw != nil && l.turns.add(l) {
		return
	}
	l.wg.Add(1)
	go func() { // one object, where wg.Go makes two of each write
		defer l.wg.Done()
		l.drainWaiting()
	}()
}

// take moves what is queued into flight and reports whether there is something.
// When there is not, the promise to write is given back. l.mu is held.
func (l *link) take() bool {
	if l.err != nil {
		l.drop()
	}
	l.seal()
	if len(l.segs) == 0 {
		l.writing = false
		l.settle()
		return false
	}
	l.flight, l.segs = l.segs, l.flight[:0]
	l.held, l.bufs = l.bufs, l.held[:0]
	l.pending, l.sent = 0, 0
	for _, s := range l.flight {
		l.pending += len(s)
	}
	return true
}

// maxPieces is the length of the lists that an idle connection keeps.
const maxPieces = 32

// landed accounts for a written flight. l.mu is held.
func (l *link) landed(err error) {
	for _, b := range l.held {
		if b != nil {
			b.release()
		}
	}
	clear(l.flight)
	clear(l.held)
	if cap(l.flight) > maxPieces {
		l.flight = nil
	}
	if cap(l.held) > maxPieces {
		l.held = nil
	}
	l.account()
	if err != nil {
		l.die(err)
	}
}

// account takes what has been written out of the queue's size, piece by piece:
// a reader that is slow but steady makes room all the time. l.mu is held.
func (l *link) account() {
	l.written += uint64(l.sent)
	l.size = max(l.size-l.sent, 0) // 0 if it was dropped meanwhile
	l.pending -= l.sent
	l.sent = 0
	l.settle()
}

// maxFlights is how often drain writes before it lets a goroutine go on: what
// others keep adding must not hold up the one whose turn it is.
const maxFlights = 4

// drain writes what is queued as far as the network takes it at once, and leaves
// the rest to a goroutine.
func (l *link) drain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := 0; ; n++ {
		if n == maxFlights && l.size > 0 && l.err == nil {
			l.wg.Go(l.drainWaiting)
			return
		}
		if !l.take() {
			return
		}
		l.mu.Unlock()
		rest, err := l.attempt(l.flight)
		l.mu.Lock()
		if len(rest) > 0 && err == nil && l.err == nil {
			l.wg.Go(func() { l.finish(rest) })
			return
		}
		l.landed(err)
	}
}

// drainWaiting writes what is queued, waiting for the network.
func (l *link) drainWaiting() { l.finish(nil) }

// finish writes the rest of the flight and then what is queued.
func (l *link) finish(rest [][]byte) {
	var err error
	if len(rest) > 0 {
		err = l.writeAll(rest)
		l.mu.Lock()
		l.landed(err)
	} else {
		l.mu.Lock()
	}
	defer l.mu.Unlock()
	for l.take() {
		l.mu.Unlock()
		rest, err := l.flight, error(nil)
		if l.raw != nil {
			rest, err = l.attempt(rest)
		}
		if len(rest) > 0 && err == nil {
			err = l.writeAll(rest)
		}
		l.mu.Lock()
		l.landed(err)
	}
}

// attempt is one write. It needs memory that idle connections should not keep.
type attempt struct {
	segs [][]byte // what is to be written
	n    int      // bytes that have been
	err  error
	try  func(fd uintptr) bool // the method once
}

var attempts = sync.Pool{New: func() any {
	w := &attempt{}
	w.try = w.once
	return w
}}

func (w *attempt) done() {
	w.segs, w.err = nil, nil
	attempts.Put(w)
}

// attempt writes segs without waiting and returns what is left.
func (l *link) attempt(segs [][]byte) ([][]byte, error) {
	w := attempts.Get().(*attempt)
	defer w.done()
	for len(segs) > 0 {
		w.segs, w.n, w.err = segs, 0, nil
		err := l.raw.Write(w.try)
		if err == nil && w.err != nil {
			err = &net.OpError{Op: "write", Net: "socket", Addr: l.conn.RemoteAddr(), Err: w.err}
		}
		if err != nil || w.n == 0 {
			return segs, err
		}
		n := w.n
		l.sent += n
		for len(segs) > 0 && n >= len(segs[0]) {
			n -= len(segs[0])
			segs = segs[1:]
		}
		if len(segs) > 0 {
			segs[0] = segs[0][n:]
		}
	}
	return nil, nil
}

// writePiece is how much must be taken within the write timeout.
const writePiece = 32 << 10

// writeAll writes segs, waiting for the network.
func (l *link) writeAll(segs [][]byte) error {
	for len(segs) > 0 {
		l.mu.Lock()
		l.account()
		l.mu.Unlock()
		if err := l.conn.SetWriteDeadline(time.Now().Add(l.opts.WriteTimeout)); err != nil {
			return err
		}
		s := segs[0]
		if len(s) > writePiece {
			s = s[:writePiece]
		}
		n, err := l.conn.Write(s)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				l.visit.refuse(stuck, nil)
			}
			return err
		}
		if segs[0] = segs[0][n:]; len(segs[0]) == 0 {
			if i := len(l.flight) - len(segs); l.held[i] != nil {
				l.held[i].release()
				l.held[i] = nil
			}
			segs = segs[1:]
		}
		l.sent += n
	}
	return l.conn.SetWriteDeadline(time.Time{})
}

// die marks the connection dead, for the reason err, and frees whoever waits for
// it. l.mu is held.
func (l *link) die(err error) {
	if l.err != nil {
		return
	}
	l.err = err
	l.drop()
	l.settle()
	if l.alarm != nil {
		l.alarm.Stop()
	}
	if l.giveUp != nil {
		l.giveUp()
	}
	// TLS would send an alert first and wait for it while senders hold their
	// locks; an orderly end has sent its own before it comes here.
	_ = l.under.Close()
}

// fail is die for those who do not hold the lock.
func (l *link) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.die(err)
}

// control queues a finished frame of the transport. Behind the last one nothing
// more is queued.
func (l *link) control(frame []byte, last bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	kick, err := l.putControl(frame)
	l.parted = l.parted || last && err == nil
	if kick {
		l.schedule()
	}
	return err
}

// pause ends the turn of the receiving goroutine, which is about to wait.
func (l *link) pause() {
	if l.turn != 0 {
		l.turns.end(l.turn)
		l.turn = 0
	}
}

// fill reads once, waiting until something has arrived, and appends it to l.in.
func (l *link) fill() error {
	if l.readErr != nil {
		return l.readErr
	}
	l.pause()
	n, err := l.readSome()
	if err == nil && n == 0 {
		l.eof = true
		err = io.EOF
	}
	if err != nil {
		l.readErr = l.readFailure(err)
		return l.readErr
	}
	l.in.b = l.in.b[:len(l.in.b)+n]
	l.arrived.Add(uint64(n))
	l.heard.Store(l.opts.now())
	if l.turns != nil {
		l.turn = l.turns.begin()
	}
	return nil
}

// readFailure returns the error to report for a failed read.
func (l *link) readFailure(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closing:
		return wamp.ErrClosed
	case l.err != nil:
		return l.err
	case l.claimed > 0 && errors.Is(err, os.ErrDeadlineExceeded):
		return l.late()
	}
	return err
}

// ready makes room in l.in for the next read. Memory grows by doubling up to
// want, as the bytes arrive, and shrinks when a large message has been consumed.
func (l *link) ready() []byte {
	base := largeBuffer
	if l.raw == nil || l.visit != nil && !l.joined.Load() {
		base = smallBuffer // it is held while waiting, or HELLO is all that comes
	}
	if l.in == nil {
		l.in, l.pos = getBuffer(base), 0
	}
	rest := l.in.b[l.pos:]
	size := cap(l.in.b)
	switch {
	case len(rest) == size:
		size = min(max(l.want, base), 2*size)
	case max(len(rest), l.want) <= base:
		size = base
	}
	switch {
	case size != cap(l.in.b):
		next := getBuffer(size)
		next.b = append(next.b, rest...)
		l.in.release()
		l.in, l.pos = next, 0
		size = cap(next.b)
	case l.pos > 0 && (len(rest) == 0 || size-l.pos < max(l.want, len(rest)+1)):
		l.in.b = l.in.b[:copy(l.in.b, rest)]
		l.pos = 0
	}
	return l.in.b[len(l.in.b):size]
}

// unread is what has been read ahead.
func (l *link) unread() []byte {
	if l.in == nil {
		return nil
	}
	return l.in.b[l.pos:]
}

// idleInput gives back what an idle connection does not need: the memory of the
// last message, and the read buffer when nothing is in it.
func (l *link) idleInput() {
	if l.decoder != nil {
		l.decoder.Release()
	}
	if l.in != nil && l.pos == len(l.in.b) {
		l.in.release()
		l.in, l.pos = nil, 0
	}
}

func (l *link) readSome() (int, error) {
	if l.raw == nil {
		l.idleInput()
		n, err := l.conn.Read(l.ready())
		if n > 0 {
			return n, nil
		}
		if err == io.EOF {
			return 0, nil
		}
		return 0, err
	}
	l.readN, l.readE = 0, nil
	if err := l.raw.Read(l.readFn); err != nil {
		return 0, err
	}
	return l.readN, l.readE
}

// keepalive pings a silent peer and drops one that stays silent.
func (l *link) keepalive(p pinger) {
	l.mu.Lock()
	deaf := l.giveUp != nil
	l.mu.Unlock()
	if l.recv.TryLock() { // nobody receives: the last message keeps them busy
		deaf = true
		l.recv.Unlock()
	}
	if deaf {
		l.heard.Store(l.opts.now())
	}
	quiet := time.Duration(l.opts.now() - l.heard.Load())
	interval := l.opts.PingInterval
	limit := interval + l.opts.PingTimeout
	if quiet >= limit {
		l.visit.refuse(silent, nil)
		l.fail(errSilent)
		return
	}
	next := interval - quiet
	if next <= 0 {
		if err := p.ping(); errors.Is(err, wamp.ErrClosed) {
			return
		}
		next = min(interval, limit-quiet)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil && !l.closing {
		l.alarm.Reset(next)
	}
}

// pinger queues a ping.
type pinger interface{ ping() error }

// watch starts the keepalive.
func (l *link) watch(p pinger) {
	if l.opts.PingInterval < 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard.Store(l.opts.now())
	l.alarm = time.AfterFunc(l.opts.PingInterval, func() { l.keepalive(p) })
}

// close flushes the queue behind which farewell is queued, ends the connection
// and returns when everything that belongs to it has stopped. halfClose says
// whether the other side is told by the end of the stream.
func (l *link) close(farewell []byte, halfClose bool) {
	l.closeOnce.Do(func() { l.shutdown(farewell, halfClose) })
}

func (l *link) shutdown(farewell []byte, halfClose bool) {
	end := time.Now().Add(l.opts.Linger)
	if l.recv.TryLock() {
		l.pause() // the receiver does not come back to end its turn
		l.recv.Unlock()
	}
	l.mu.Lock()
	if len(farewell) > 0 {
		if kick, err := l.putControl(farewell); err == nil && kick {
			l.wg.Go(l.drainWaiting)
		}
		l.parted = true // no pong and no ping behind it
	}
	l.closing = true
	l.settle()
	if l.giveUp != nil {
		l.giveUp()
	}
	if l.alarm != nil {
		l.alarm.Stop()
	}
	var flushed chan struct{}
	if l.size > 0 && l.err == nil {
		flushed = make(chan struct{})
		l.idle = flushed
	}
	l.mu.Unlock()
	if flushed != nil {
		if l.turns != nil {
			l.turns.hurry()
		}
		late := time.NewTimer(time.Until(end))
		select {
		case <-flushed:
		case <-late.C:
			l.fail(wamp.ErrClosed)
		}
		late.Stop()
	}
	// A receiver that waits for input is freed; then its side is ours.
	_ = l.conn.SetReadDeadline(time.Unix(1, 0))
	l.recv.Lock()
	l.pause()
	l.linger(end, halfClose)
	l.fail(wamp.ErrClosed)
	l.readErr = wamp.ErrClosed
	// Not released: the last message received may be in it, and whoever received
	// it may still be at work.
	l.in = nil
	l.unclaim()
	l.recv.Unlock()
	l.wg.Wait()
}

// linger reads until the other side has finished as well. Closing with unread
// input would reset the connection and could destroy what the other side has not
// read yet.
func (l *link) linger(end time.Time, halfClose bool) {
	l.mu.Lock()
	dead := l.err != nil
	l.mu.Unlock()
	if dead || l.eof {
		return
	}
	if half, ok := l.conn.(interface{ CloseWrite() error }); ok && halfClose {
		if half.CloseWrite() != nil {
			return
		}
	} else if halfClose {
		return
	}
	if l.conn.SetReadDeadline(end) != nil {
		return
	}
	scrap := getBuffer(smallBuffer)
	defer scrap.release()
	for {
		if _, err := l.conn.Read(scrap.b[:cap(scrap.b)]); err != nil {
			return
		}
	}
}
