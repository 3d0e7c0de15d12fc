package websocket

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
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

// newWire puts a wire on c; max is Config.MaxFrame.
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
	w.seen.waiting.Store(true)
	n, err := w.Conn.Read(b)
	w.seen.waiting.Store(false)
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

// whole sends frames that have been put together; messages is how many they are
// the end of.
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

// FrameHeader is the header of a frame (RFC 6455, 5.2).
type FrameHeader struct {
	Final  bool   // the last frame of its message
	Opcode Opcode // 0 for a continuation; with the reserved bits, such as Deflated
	Masked bool
	Length uint64 // of the payload in bytes
}

// What comes next on a connection that is watched.
const (
	inResponse = iota // the server's answer
	inFrames
	inUnknown // the body of an answer that opens no WebSocket
)

// incoming follows what arrives from frame to frame.
type incoming struct {
	state    int
	watched  bool // for statistics and frames to show
	maxFrame uint64
	trace    func(TraceEvent)
	heard    atomic.Int64 // when something last arrived, in Unix nanoseconds
	waiting  atomic.Bool  // for something to arrive

	frames, messages, bytes, pings, pongs atomic.Uint64

	head [MaxHeader]byte // the beginning of a header
	have int             // how much of it has arrived
	left uint64          // what is to come of the present frame's payload

	closing []byte // payload of a close frame as far as it has arrived, masked; nil outside of one

	queue []FrameHeader // data frames that have arrived and that no reader has taken
	taken int           // how many of queue have been
}

// feed follows b. If a frame in it breaks the protocol, it returns how much comes
// before that frame, and the error.
func (in *incoming) feed(b []byte) (int, error) {
	if in.watched {
		in.heard.Store(time.Now().UnixNano())
		in.bytes.Add(uint64(len(b)))
	}
	if in.trace != nil {
		in.trace(TraceEvent{Octets: b})
	}
	pos := 0
	for pos < len(b) {
		if in.left > 0 {
			n := min(in.left, uint64(len(b)-pos))
			if in.closing != nil {
				in.closing = append(in.closing, b[pos:pos+int(n)]...)
			}
			in.left -= n
			if in.left == 0 && in.closing != nil {
				if err := in.closed(); err != nil {
					return pos, err
				}
			}
			pos += int(n)
			continue
		}
		begin := pos
		pos += in.header(b[pos:])
		if in.have > 0 {
			break // the rest is to come
		}
		if err := in.begin(); err != nil {
			return begin, err
		}
	}
	return len(b), nil
}

// header takes the bytes of a header that b begins with, and returns how many they
// are. have is 0 when the header is whole.
func (in *incoming) header(b []byte) int {
	n := 0
	for {
		need := 2
		if in.have >= 2 {
			need = HeaderSize(in.head[:])
		}
		if in.have == need {
			in.have = 0
			return n
		}
		m := copy(in.head[in.have:need], b[n:])
		in.have += m
		if n += m; in.have < need {
			return n
		}
	}
}

// begin takes note of the frame whose header is in head.
func (in *incoming) begin() error {
	h := parseHeader(in.head[:])
	op := h.Opcode & 0x0F
	if err := in.check(h, op); err != nil {
		return err
	}
	in.left = h.Length
	if op == Close && h.Length > 0 && h.Length <= MaxControl {
		in.closing = make([]byte, 0, h.Length)
	}
	if !in.watched {
		return nil
	}
	in.frames.Add(1)
	switch {
	case op < Close:
		in.queue = append(in.queue, h)
		if h.Final {
			in.messages.Add(1)
		}
	case op == Ping:
		in.pings.Add(1)
	case op == Pong:
		in.pongs.Add(1)
	}
	if in.trace != nil {
		in.trace(TraceEvent{Frame: &h})
	}
	return nil
}

// check looks for what the library overlooks.
func (in *incoming) check(h FrameHeader, op Opcode) error {
	switch {
	case h.Opcode&Deflated != 0 && (op == 0 || op >= Close):
		return &ProtocolError{CloseProtocolError, "RSV1 set on a frame that does not begin a message"}
	case op == Close && h.Length == 1:
		return &ProtocolError{CloseProtocolError, "close frame with half a code"}
	case h.Length > 1<<63-1: // RFC 6455, 5.2
		return ErrTooBig
	case HeaderLen(int(min(h.Length, 1<<16)), h.Masked) != HeaderSize(in.head[:]):
		return &ProtocolError{CloseProtocolError, "frame length not in its shortest form"}
	case in.maxFrame > 0 && h.Length > in.maxFrame:
		return ErrTooBig
	}
	return nil
}

// closed checks the close frame that has arrived where the library would judge
// otherwise.
func (in *incoming) closed() error {
	payload := in.closing
	in.closing = nil
	if in.head[1]&maskBit != 0 {
		Mask([4]byte(in.head[HeaderSize(in.head[:])-4:]), payload)
	}
	code, reason := int(binary.BigEndian.Uint16(payload)), payload[2:]
	switch {
	case !utf8.Valid(reason):
		return &ProtocolError{CloseInvalidPayload, "reason of the close frame is not UTF-8"}
	case code == closeBadGateway:
		return &CloseError{Code: code, Reason: string(reason)}
	}
	return nil
}

// closeBadGateway has been registered since the library was written.
const closeBadGateway = 1014

// take returns the header of the next data frame, if it has arrived.
func (in *incoming) take() (FrameHeader, bool) {
	if in.taken == len(in.queue) {
		return FrameHeader{}, false
	}
	h := in.queue[in.taken]
	if in.taken++; in.taken == len(in.queue) {
		in.queue, in.taken = in.queue[:0], 0
	}
	return h, true
}

// deflated reports whether the message that comes next is compressed.
func (in *incoming) deflated() bool {
	return in.taken < len(in.queue) && in.queue[in.taken].Opcode&Deflated != 0
}

// skip takes the rest of the present message, which has arrived.
func (in *incoming) skip() {
	for {
		if h, ok := in.take(); !ok || h.Final {
			return
		}
	}
}

// errCloseSent ends writing once a close frame has been sent.
var errCloseSent = fmt.Errorf("websocket: %w", net.ErrClosed)
