package websocket

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// wire lies between the library and the network. What the library reads passes
// through it and is checked for what the library overlooks. All frames are written
// here, the library's own control frames included, each as a whole. The sending
// side is not the library's because that neither fragments where it is told to nor
// sends a large message of a client in one frame.
type wire struct {
	net.Conn
	seen    incoming  // what arrives
	in      *incoming // seen, if there are statistics and frames to show; nil with Config.Wrap
	early   []byte    // what Read returns before anything else
	wrong   error     // and then, if it is not nil
	agreed  string    // on compression, in a server's answer
	server  bool      // frames are not masked
	timeout time.Duration
	quiet   bool // Config.FailByDrop
	trace   func(TraceEvent)
	open    atomic.Bool // the handshake is over

	framesOut, messagesOut, bytesOut atomic.Uint64

	until atomic.Int64 // write deadline of a Stream in Unix nanoseconds, 0 if there is none

	mu      sync.Mutex // guards what follows, and the order of frames
	err     error      // ends writing
	renewed time.Time  // when the write deadline was set
	vectors [2][]byte
	buffers net.Buffers // of vectors
}

// newWire puts a wire on c.
func newWire(c net.Conn, cfg *Config, server bool) *wire {
	w := &wire{Conn: c, server: server, timeout: cfg.WriteTimeout, quiet: cfg.FailByDrop, trace: cfg.Trace}
	if cfg.Wrap == nil {
		w.in = &w.seen
		w.seen = incoming{watched: true, maxFrame: uint64(max(cfg.MaxFrame, 0)), trace: cfg.Trace}
	}
	if server {
		w.seen.state = inFrames
	}
	return w
}

// Read passes on what has arrived, up to the header of a frame that breaks the
// protocol.
func (w *wire) Read(b []byte) (int, error) {
	if w.seen.state == inResponse {
		if err := w.response(); err != nil {
			return 0, err
		}
	}
	switch {
	case len(w.early) > 0:
		n := copy(b, w.early)
		w.early = w.early[n:]
		return n, nil
	case w.wrong != nil:
		return 0, w.wrong
	}
	if w.in != nil {
		w.in.waiting.Store(true)
	}
	n, err := w.Conn.Read(b)
	if w.in != nil {
		w.in.waiting.Store(false)
	}
	if w.seen.state != inFrames || n == 0 {
		return n, err
	}
	good, wrong := w.seen.feed(b[:n])
	if wrong != nil {
		return good, wrong
	}
	return n, err
}

// Write passes the handshake on, and then the library's control frames.
func (w *wire) Write(b []byte) (int, error) {
	if !w.open.Load() {
		return w.opening(b)
	}
	isClose := Opcode(b[0]&0x0F) == Close
	w.mu.Lock()
	defer w.mu.Unlock()
	if isClose && w.quiet {
		w.err = errCloseSent
		return 0, w.Conn.Close()
	}
	if w.err != nil {
		return 0, w.err
	}
	w.renew()
	return len(b), w.finish(b[0], len(b), w.put(b))
}

// SetWriteDeadline is the library's way to bound a control frame; once the
// handshake is over the wire bounds all frames itself.
func (w *wire) SetWriteDeadline(t time.Time) error {
	if w.open.Load() {
		return nil
	}
	return w.Conn.SetWriteDeadline(t)
}

// Sizes of the buffers that frames are put together in, header included.
const (
	smallFrame = 4 << 10
	largeFrame = 64<<10 + MaxHeader
)

var (
	smallFrames = sync.Pool{New: func() any { return new([smallFrame]byte) }}
	largeFrames = sync.Pool{New: func() any { return new([largeFrame]byte) }}
)

// frame sends one frame. first is its first byte. p is left as it is.
func (w *wire) frame(first byte, p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.renew()
	size := HeaderLen(len(p), !w.server) + len(p)
	switch {
	case size <= smallFrame:
		buf := smallFrames.Get().(*[smallFrame]byte)
		defer smallFrames.Put(buf)
		return w.finish(first, size, w.assemble(buf[:], first, p))
	case w.server && w.trace == nil && w.gathers():
		buf := smallFrames.Get().(*[smallFrame]byte)
		defer smallFrames.Put(buf)
		n := PutHeader(buf[:], 0, len(p), nil)
		buf[0] = first
		return w.finish(first, size, w.gather(buf[:n], p))
	}
	buf := largeFrames.Get().(*[largeFrame]byte)
	defer largeFrames.Put(buf)
	return w.finish(first, size, w.assemble(buf[:], first, p))
}

// assemble writes a frame by way of buf, which is filled as often as is necessary.
func (w *wire) assemble(buf []byte, first byte, p []byte) error {
	var key [4]byte
	var n int
	if w.server {
		n = PutHeader(buf, 0, len(p), nil)
	} else {
		key = NewMaskKey()
		n = PutHeader(buf, 0, len(p), &key)
	}
	buf[0] = first
	for {
		// What is masked in a piece that is not the last is a multiple of the key.
		m := copy(buf[n:n+(len(buf)-n)&^3], p)
		if !w.server {
			Mask(key, buf[n:n+m])
		}
		if err := w.put(buf[:n+m]); err != nil {
			return err
		}
		if p = p[m:]; len(p) == 0 {
			return nil
		}
		n = 0
	}
}

// gathers reports whether the network takes several pieces in one system call.
func (w *wire) gathers() bool {
	switch w.Conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

// gather writes head and p at once.
func (w *wire) gather(head, p []byte) error {
	w.vectors = [2][]byte{head, p}
	w.buffers = w.vectors[:]
	_, err := w.buffers.WriteTo(w.Conn)
	w.vectors = [2][]byte{}
	return err
}

// whole sends a frame that has been put together.
func (w *wire) whole(b []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.renew()
	return w.finish(b[0], len(b), w.put(b))
}

func (w *wire) put(b []byte) error {
	if w.trace != nil {
		w.trace(TraceEvent{Sent: true, Octets: b})
	}
	_, err := w.Conn.Write(b)
	return err
}

// finish counts a frame of size bytes that has been sent, or ends the connection.
// mu is held.
func (w *wire) finish(first byte, size int, err error) error {
	if err != nil {
		w.err = err
		_ = w.Conn.Close()
		return err
	}
	w.framesOut.Add(1)
	w.bytesOut.Add(uint64(size))
	op := Opcode(first & 0x0F)
	switch {
	case op == Close:
		w.err = errCloseSent
	case op < Close && first&finalBit != 0:
		w.messagesOut.Add(1)
	}
	if w.trace != nil {
		head := FrameHeader{Final: first&finalBit != 0, Opcode: Opcode(first &^ finalBit), Masked: !w.server}
		head.Length = uint64(payloadOf(size, !w.server))
		w.trace(TraceEvent{Sent: true, Frame: &head})
	}
	return nil
}

// payloadOf returns the payload of a frame of size bytes.
func payloadOf(size int, masked bool) int {
	for _, n := range []int{size - HeaderLen(0, masked), size - HeaderLen(MaxControl+1, masked)} {
		if n >= 0 && HeaderLen(n, masked)+n == size {
			return n
		}
	}
	return size - HeaderLen(1<<16, masked)
}

// renew sees to it that a write ends. As long as writes go well the deadline is
// only moved now and then, since that costs a timer. mu is held.
func (w *wire) renew() {
	now := time.Now()
	if until := w.until.Load(); until != 0 {
		w.renewed = time.Time{}
		_ = w.Conn.SetWriteDeadline(earlier(now.Add(w.timeout), time.Unix(0, until)))
		return
	}
	if now.Sub(w.renewed) < w.timeout/4 {
		return
	}
	w.renewed = now
	_ = w.Conn.SetWriteDeadline(now.Add(w.timeout))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// closeSent reports whether a close frame has been sent.
func (w *wire) closeSent() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err == errCloseSent
}

// errCloseSent ends writing once a close frame has been sent.
var errCloseSent = fmt.Errorf("websocket: %w", net.ErrClosed)
