package transport

import (
	"bytes"
	"encoding/binary"

	"gantry/wamp"
	"gantry/wamp/serialize"
	"gantry/wamp/websocket"
)

// batching says how the messages in one frame are told apart (AP "Message
// Batching"). A value besides those below is the octet behind each message.
type batching byte

const (
	unbatched batching = 0 // a frame is one message
	prefixed  batching = 1 // the length of each message, 32 bits, goes before it
)

// Separators behind the messages of a JSON batch, see Options.Separator.
const (
	// SeparatorRS is the record separator, which the specification names.
	SeparatorRS = 0x1E
	// SeparatorCAN is what Autobahn|Python and a library for Erlang write and
	// wait for: they read the 30 of the specification as an octal number.
	SeparatorCAN = 0x18
)

const (
	batchPrefix = 4
	// maxBatch is the largest frame that is filled with several messages. The
	// other side's limit is not known; no common one is lower.
	maxBatch = 1<<16 - 1
)

// BatchedSubprotocol returns the WebSocket subprotocol of WAMP in format f with
// several messages in a frame (AP "Message Batching").
func BatchedSubprotocol(f wamp.Format) string { return Subprotocol(f) + ".batched" }

// subprotocols returns the names for the formats, the batched ones first where
// they are wanted.
func subprotocols(fs []wamp.Format, batched bool) []string {
	var names []string
	for _, f := range fs {
		if batched {
			names = append(names, BatchedSubprotocol(f))
		}
		names = append(names, Subprotocol(f))
	}
	return names
}

// parseSubprotocol returns what the name of a subprotocol stands for.
func (o *Options) parseSubprotocol(name string, fs []wamp.Format) (wamp.Format, batching) {
	for _, f := range fs {
		switch name {
		case Subprotocol(f):
			return f, unbatched
		case BatchedSubprotocol(f):
			return f, o.batching(f)
		}
	}
	return wamp.NoFormat, unbatched
}

// batching is how batches in format f are written.
func (o *Options) batching(f wamp.Format) batching {
	switch {
	case f != wamp.JSON:
		return prefixed
	case o.Separator == 0:
		return SeparatorRS
	}
	return batching(o.Separator)
}

// batchEncoding is the encoding of a batch of one in format f.
func batchEncoding(f wamp.Format, b batching) wamp.Encoding {
	if b == SeparatorCAN {
		return wamp.WebSocketJSONBatchedCAN
	}
	return wamp.WebSocketJSONBatched + wamp.Encoding(f-wamp.JSON)
}

// largestFrame is the largest frame received where several messages may be in
// one: each is then held to MaxMessage by the decoder.
func (o *Options) largestFrame() int { return max(o.MaxMessage, maxBatch) + batchPrefix }

// batch is what has not been taken yet from a frame with several messages.
type batch struct {
	kind batching
	rest []byte
}

const (
	errBatchEmpty  = batchError("holds no message")
	errBatchCut    = batchError("ends inside the length of a message")
	errBatchLength = batchError("promises a longer message than follows")
	errBatchNone   = batchError("has a message of no octets")
	errBatchEnd    = batchError("does not end with a separator, octet 0x1e or 0x18")
)

type batchError string

func (e batchError) Error() string { return "batch " + string(e) }

// newBatch proves that b is a batch of the other side, for a connection that
// batches as k does. The messages themselves are not looked at, except that a
// separator is one wherever it stands: JSON has no control characters inside.
func newBatch(k batching, b []byte) (batch, error) {
	if len(b) == 0 {
		return batch{}, errBatchEmpty
	}
	if k != prefixed {
		// The last octet tells which of the two separators this batch has.
		k = batching(b[len(b)-1])
		if k != SeparatorRS && k != SeparatorCAN {
			return batch{}, errBatchEnd
		}
		if b[0] == byte(k) || bytes.Contains(b, []byte{byte(k), byte(k)}) {
			return batch{}, errBatchNone
		}
		return batch{k, b}, nil
	}
	for rest := b; len(rest) > 0; {
		if len(rest) < batchPrefix {
			return batch{}, errBatchCut
		}
		n := uint64(binary.BigEndian.Uint32(rest))
		switch rest = rest[batchPrefix:]; {
		case n == 0:
			return batch{}, errBatchNone
		case n > uint64(len(rest)):
			return batch{}, errBatchLength
		}
		rest = rest[n:]
	}
	return batch{k, b}, nil
}

// next takes the next message, nil if there is none.
func (b *batch) next() (m []byte) {
	switch {
	case len(b.rest) == 0:
		return nil
	case b.kind == unbatched:
		m, b.rest = b.rest, nil
	case b.kind == prefixed:
		n := batchPrefix + int(binary.BigEndian.Uint32(b.rest))
		m, b.rest = b.rest[batchPrefix:n], b.rest[n:]
	default:
		n := bytes.IndexByte(b.rest, byte(b.kind))
		m, b.rest = b.rest[:n], b.rest[n+1:]
	}
	return m
}

// appendRecord appends a finished message as it is in a batch.
func (k batching) appendRecord(dst, m []byte) []byte {
	switch k {
	case unbatched:
		return append(dst, m...)
	case prefixed:
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(m)))
		return append(dst, m...)
	}
	return append(append(dst, m...), byte(k))
}

// record appends m as it is in a batch. On error dst is unchanged.
func (f *framing) record(dst []byte, m wamp.Message) ([]byte, error) {
	start := len(dst)
	if f.batching != prefixed {
		b, err := serialize.Append(dst, f.format, m)
		if err != nil {
			return dst, err
		}
		return append(b, byte(f.batching)), nil
	}
	b, err := serialize.Append(append(dst, 0, 0, 0, 0), f.format, m)
	if err != nil {
		return dst, err
	}
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-batchPrefix))
	return b, nil
}

// putBatched is put where several messages share a frame: m joins the frame that
// is still open at the end of the tail. q.mu is held.
func (q *queue) putBatched(m wamp.Message, c class) (kick bool, err error) {
	if s, ok := m.(*wamp.Shared); ok {
		if q.framing.encoding != wamp.NoEncoding {
			return q.putSharedRecord(s, c)
		}
		m = s.Msg
	}
	t, fresh := q.begin(frameSpace(m))
	at := len(t.b)
	b, err := q.framing.record(t.b, m)
	n := len(b) - at
	if err == nil && q.full(n, c) {
		err = wamp.ErrQueueFull
	}
	switch {
	case err != nil:
		q.unbegin(fresh)
		return false, err
	case !fresh && len(b)-q.start > maxBatch:
		return q.addRecord(bytes.Clone(b[at:])), nil
	}
	t.b = b
	return q.grown(n + q.header(fresh)), nil
}

// putSharedRecord is putShared for batches. q.mu is held.
func (q *queue) putSharedRecord(s *wamp.Shared, c class) (kick bool, err error) {
	made := s.Frame(q.framing.encoding)
	if made == nil {
		const head = websocket.MaxHeader
		b, err := q.framing.record(make([]byte, head, head+frameSpace(s.Msg)), s.Msg)
		if err != nil {
			return false, err
		}
		n := len(b) - head
		frame := b[head-websocket.HeaderLen(n, false):]
		websocket.PutHeader(frame, q.framing.op, n, nil)
		made = &buffer{b: frame}
		s.SetFrame(q.framing.encoding, made)
	}
	frame := made.Bytes()
	switch {
	case q.full(len(frame), c):
		return false, wamp.ErrQueueFull
	case len(frame) >= byReference && !q.framing.deflates():
		q.refer(made)
		return q.grown(len(frame)), nil
	}
	return q.addRecord(frame[websocket.HeaderSize(frame):]), nil
}

// addRecord queues a finished record. q.mu is held.
func (q *queue) addRecord(rec []byte) (kick bool) {
	if q.filling && len(q.tail.b)+len(rec)-q.start > maxBatch {
		q.endBatch()
	}
	t, fresh := q.begin(len(rec))
	t.b = append(t.b, rec...)
	return q.grown(len(rec) + q.header(fresh))
}

// begin returns the tail with a frame that is still open and has room for n more
// bytes. A fresh one has an empty header and is not counted yet. q.mu is held.
func (q *queue) begin(n int) (t *buffer, fresh bool) {
	if q.filling {
		if t := q.tail; cap(t.b)-len(t.b) >= n {
			return t, false
		}
		q.endBatch()
	}
	t = q.open(n + q.framing.space)
	q.start, q.filling = len(t.b), true
	var space [16]byte
	t.b = append(t.b, space[:q.framing.space]...)
	return t, true
}

// header is what a fresh frame takes in the queue besides its first record.
func (q *queue) header(fresh bool) int {
	if fresh {
		return q.framing.space
	}
	return 0
}

// unbegin takes a fresh frame back.
func (q *queue) unbegin(fresh bool) {
	if fresh {
		q.tail.b = q.tail.b[:q.start]
		q.filling = false
		q.undo(q.start)
	}
}

// endBatch gives the open frame its header. q.mu is held.
func (q *queue) endBatch() {
	if !q.filling {
		return
	}
	q.filling = false
	t := q.tail
	n := len(t.b)
	t.b = q.framing.finish(t.b, q.start)
	q.size += len(t.b) - n
}

// separate has batches written with the separator k from now on, which is the
// other side's.
func (q *queue) separate(k batching) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.endBatch()
	q.framing.batching = k
	if q.framing.encoding != wamp.NoEncoding {
		q.framing.encoding = batchEncoding(q.framing.format, k)
	}
}
