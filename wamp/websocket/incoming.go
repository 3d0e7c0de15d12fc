package websocket

import (
	"encoding/binary"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

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
	if in.have == 0 && len(b) >= MaxHeader { // all of it, whatever its length
		in.head = [MaxHeader]byte(b)
		return HeaderSize(b)
	}
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
		traced := h // which leaves h itself on the stack
		in.trace(TraceEvent{Frame: &traced})
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
