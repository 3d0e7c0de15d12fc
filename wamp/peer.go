package wamp

import (
	"context"
	"crypto/tls"
	"math/bits"
)

// Encoding numbers the ways in which a transport turns a message into bytes:
// one per framing and serializer. It indexes the cache of a Shared message.
type Encoding uint8

// The encodings. NoEncoding belongs to peers that pass messages as values. A
// frame of a batched encoding is a batch of one message; that of a deflated one
// may be compressed; BatchedCAN is a batch with the separator 0x18.
const (
	NoEncoding Encoding = iota
	WebSocketJSON
	WebSocketMsgPack
	WebSocketCBOR
	RawSocketJSON
	RawSocketMsgPack
	RawSocketCBOR
	WebSocketJSONBatched
	WebSocketMsgPackBatched
	WebSocketCBORBatched
	WebSocketJSONDeflated
	WebSocketMsgPackDeflated
	WebSocketCBORDeflated
	WebSocketJSONBatchedCAN
	EncodingCount
)

// Frame is a finished frame that several peers send. Its bytes do not change while
// somebody holds it: whoever makes it does so once, and everybody who keeps it once
// more. When all have released it, its memory is used again. Frames are safe for
// concurrent use.
type Frame interface {
	Bytes() []byte
	Hold()
	Release()
}

// Shared is one message on its way to many peers. The first peer of each
// Encoding leaves the finished frame in it and the others send those bytes, so
// that an event is encoded once per serializer and framing however many
// subscribers it has. It is not safe for concurrent use: one goroutine offers it
// to one peer after the other, and says when it is Done.
type Shared struct {
	Msg    Message
	frames [EncodingCount]Frame
	made   uint32 // bits of those encodings that have one
	clone  Message
}

// Type returns the type of the message inside.
func (s *Shared) Type() MessageType { return s.Msg.Type() }

// Frame returns the finished frame for e, nil if no peer has made it yet. It is valid
// until Done: whoever keeps it holds it.
func (s *Shared) Frame(e Encoding) Frame { return s.frames[e] }

// SetFrame leaves the frame for e, of which there is none yet, and takes over the
// caller's hold.
func (s *Shared) SetFrame(e Encoding, f Frame) {
	s.frames[e] = f
	s.made |= 1 << e
}

// Done releases the frames and forgets the message, so that s can be used again.
func (s *Shared) Done() {
	for made := s.made; made != 0; made &= made - 1 {
		e := bits.TrailingZeros32(made)
		s.frames[e].Release()
		s.frames[e] = nil
	}
	s.Msg, s.made, s.clone = nil, 0, nil
}

// Own returns a copy of the message that borrows nothing, made once for all
// peers that pass messages as values. Receivers must not change it.
func (s *Shared) Own() Message {
	if s.clone == nil {
		s.clone = Clone(s.Msg)
	}
	return s.clone
}

// Framer is implemented by peers that send bytes. Frame returns the frame that s is
// queued as, and its encoding; if nobody has made it, it is made and left in s. It is
// nil for a peer whose frames cannot be kept, and for a message that cannot be sent.
// Another Shared with the same frame and a message of the same type, sent to that
// peer later, stands for s.
type Framer interface {
	Frame(s *Shared) (Encoding, Frame)
}

// PeerInfo describes the other end of a transport.
type PeerInfo struct {
	Transport string // "websocket", "rawsocket", "longpoll", "pipe", "mqtt"
	Format    Format // NoFormat for the pipe
	Remote    string // address, "pipe" for the in-process pipe
	Local     bool   // in process, Unix socket, or loopback address
	Encrypted bool   // TLS
	// TLS is the state of an encrypted connection once its handshake is done: for
	// channel binding and client certificates. Nil without TLS.
	TLS *tls.ConnectionState
	// Cookie names the browser that the connection is from, by its cookie's hash;
	// "" where it has none.
	Cookie string
	// Restored is who the other side is, where a session of that identity is taken up
	// again after a restart of the router's own process; nil for all others.
	Restored *Restored
	MaxSend  int // largest message in bytes that the other side takes; 0 = no limit
}

// Restored is the identity with which a session had joined before.
type Restored struct {
	AuthID, AuthRole, AuthMethod string
}

// Peer is one end of a connection that carries WAMP messages, in either
// direction. Transports make them; routers and clients use them.
//
// Messages are lent, not given. A message returned by Recv, with every string
// and payload in it, is valid until the next Recv; a message passed to Send or
// TrySend may be reused as soon as the call returns. Whoever keeps one uses Clone.
//
// One goroutine may receive; any number may send; Close may be called by anyone,
// any number of times.
type Peer interface {
	// Recv blocks until a message has arrived. It returns io.EOF when the other
	// side closed in order, a *ProtocolError when it sent what is not a WAMP
	// message (the transport stays open for the ABORT that answers it), and the
	// transport's error otherwise. After Close it returns ErrClosed or io.EOF.
	Recv() (Message, error)

	// TrySend queues m and returns at once: nil, ErrQueueFull, ErrTooLarge,
	// ErrClosed, or the error of an encoder that cannot express the payload
	// (*PayloadError). The order of successful sends is kept.
	TrySend(m Message) error

	// Send is TrySend that waits for room in the queue until ctx ends.
	Send(ctx context.Context, m Message) error

	// Close flushes what is queued, for as long as the transport's linger time
	// allows, ends the connection and frees a blocked Recv. It returns when that
	// is done.
	Close() error

	// Info describes the other end.
	Info() PeerInfo
}

// Congestible is implemented by lossless peers, whose queue takes every message:
// in place of ErrQueueFull they ask the router to stop reading from publishers.
type Congestible interface {
	// Congested returns nil while the queue is below its mark, otherwise a
	// channel that is closed when it is below it again or the peer is closed.
	Congested() <-chan struct{}
}

// Roomy is implemented by peers that tell of room in their queue. They get the last
// values of a subscription as they have room for them; to others all come at once, and what
// does not fit is dealt with as other events are.
type Roomy interface {
	// Room returns a channel that is closed when something has left the queue since,
	// or the peer is closed.
	Room() <-chan struct{}
}

// Throttled is implemented by peers whose other side may ask for more than it reads
// the answers of.
type Throttled interface {
	// Crowded returns nil while few answers wait to be read, otherwise a channel that
	// is closed when few wait again or the peer is closed: until then nothing more
	// should be received from the other side, and answered. Only the goroutine that
	// receives calls it. What the other side has not asked for, such as events and
	// invocations, makes no crowd.
	Crowded() <-chan struct{}
}

// Metered is implemented by peers that know what goes over the network.
type Metered interface {
	// Traffic returns the bytes received and sent since the transport's handshake:
	// messages as they are encoded, with the headers of their frames, pings and the
	// like, compressed where that is agreed on; not what TLS, HTTP and TCP add. It
	// may be called at any time, also after Close.
	Traffic() (received, sent uint64)
}

// ProtocolError tells of bytes that are no WAMP message, or of a message that
// breaks the protocol. The router answers it with ABORT.
type ProtocolError struct {
	// Text says what is wrong, for the peer and the operator.
	Text string
}

// Error returns the text.
func (e *ProtocolError) Error() string { return "protocol violation: " + e.Text }

// PayloadError tells of a payload that the receiver's serializer cannot carry,
// for instance NaN towards JSON. Only the one message is affected.
type PayloadError struct {
	Format Format
	Text   string
}

// Error returns format and text.
func (e *PayloadError) Error() string { return "payload to " + e.Format.String() + ": " + e.Text }

// EventHandler receives the events of one subscription, one after the other in
// the order of arrival. It owns ev. While it runs no further message of the
// session is read, so it must not wait for an answer from the router; start a
// goroutine for that.
type EventHandler func(ev *Event)

// InvocationHandler serves a procedure. Each invocation runs in its own
// goroutine. ctx ends when the caller cancels, its timeout passes, or the session
// ends. progress sends a progressive result; it returns an error when the caller
// did not ask for them. The returned payload is the result; an error is answered
// as ERROR (see Error).
type InvocationHandler func(ctx context.Context, inv *Invocation, progress func(Payload) error) (Payload, error)

// Session is what an application component may do in a realm. The in-process
// session, the remote session and the reconnecting client all implement it, so a
// component runs unchanged inside the router or as a remote client.
//
// Calls block until the router has answered or ctx ends. Refusals are *Error.
type Session interface {
	// ID returns the session's ID, 0 while a reconnecting client has none.
	ID() ID

	// Publish sends an event. With opts.Acknowledge it returns once the router
	// has accepted it; otherwise as soon as it is queued.
	Publish(ctx context.Context, topic URI, opts PublishOptions, p Payload) error

	// Subscribe calls h for each event on topic until the returned function is
	// called.
	Subscribe(ctx context.Context, topic URI, opts SubscribeOptions, h EventHandler) (unsubscribe func(context.Context) error, err error)

	// Call invokes a procedure and returns its result. Without a timeout in opts the
	// call has what ctx leaves it. When ctx ends first the call is cancelled, by the
	// mode opts.Cancel, and ctx's error returned.
	Call(ctx context.Context, procedure URI, opts CallOptions, p Payload) (Payload, error)

	// CallProgress is Call that hands every progressive result to onProgress,
	// which must not block for long and is not called once CallProgress has
	// returned.
	CallProgress(ctx context.Context, procedure URI, opts CallOptions, p Payload, onProgress func(Payload)) (Payload, error)

	// Register serves procedure with h until the returned function is called.
	Register(ctx context.Context, procedure URI, opts RegisterOptions, h InvocationHandler) (unregister func(context.Context) error, err error)

	// Done is closed when the session has ended for good.
	Done() <-chan struct{}
}
