package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// Frame types of RawSocket (AP RawSocket, "Serialization").
const (
	rawRegular = 0
	rawPing    = 1
	rawPong    = 2
)

const (
	rawMagic  = 0x7F
	rawHello  = 4 // octets of the handshake in each direction
	rawHeader = 4
	// rawLong is bit 24 of the length: only 2^24 itself sets it.
	rawLong = 0x08
)

// Error codes of the RawSocket handshake (AP RawSocket, "Handshake").
const (
	RawUnsupportedSerializer = 1
	RawLengthUnacceptable    = 2
	RawReservedBits          = 3
	RawTooManyConnections    = 4
)

var rawErrors = map[uint8]string{
	RawUnsupportedSerializer: "serializer unsupported",
	RawLengthUnacceptable:    "maximum message length unacceptable",
	RawReservedBits:          "use of reserved bits",
	RawTooManyConnections:    "maximum number of connections reached",
}

// rawSerializers maps the serializer numbers of the handshake.
var rawSerializers = [...]wamp.Format{1: wamp.JSON, 2: wamp.MsgPack, 3: wamp.CBOR}

func rawSerializer(f wamp.Format) byte {
	for n, g := range rawSerializers {
		if f == g {
			return byte(n)
		}
	}
	return 0
}

// rawExponent returns the exponent, 9 to 24, of the largest power of two that is
// not above n.
func rawExponent(n int) uint8 {
	return uint8(min(max(bits.Len(uint(n))-1, 9), 24))
}

// RawSocketError is a refusal in the RawSocket handshake, ours or the other
// side's.
type RawSocketError struct {
	Code uint8  // 1 to 4 as above; 0 if the other side does not speak RawSocket
	Text string // what was wrong and what was expected
}

// Error returns code and text.
func (e *RawSocketError) Error() string {
	if e.Code == 0 {
		return "rawsocket handshake: " + e.Text
	}
	return fmt.Sprintf("rawsocket handshake: error %d (%s): %s", e.Code, rawErrors[e.Code], e.Text)
}

// rawAccept serves the handshake of a connection whose first octet, the magic one,
// and perhaps more is in b. It answers refusals.
func rawAccept(conn net.Conn, b *buffer, formats []wamp.Format, maxMessage int) (f wamp.Format, maxSend int, err error) {
	if err := readAtLeast(conn, b, rawHello); err != nil {
		return 0, 0, fmt.Errorf("rawsocket handshake: %w", err)
	}
	refuse := func(code byte, text string) (wamp.Format, int, error) {
		_, _ = conn.Write([]byte{rawMagic, code << 4, 0, 0})
		return 0, 0, &RawSocketError{Code: code, Text: text}
	}
	hello := b.b[:rawHello]
	if hello[2] != 0 || hello[3] != 0 {
		return refuse(RawReservedBits, "octets 3 and 4 must be zero")
	}
	n := int(hello[1] & 0x0F)
	for _, g := range formats {
		if n != 0 && n == int(rawSerializer(g)) {
			f = g
		}
	}
	if f == wamp.NoFormat {
		return refuse(RawUnsupportedSerializer, fmt.Sprintf("serializer is %d, expected one of %v", n, formats))
	}
	maxSend = 1 << (9 + hello[1]>>4)
	answer := [rawHello]byte{rawMagic, (rawExponent(maxMessage)-9)<<4 | rawSerializer(f)}
	_, err = conn.Write(answer[:])
	return f, maxSend, err
}

// rawConnect opens the handshake from the client's side.
func rawConnect(conn net.Conn, f wamp.Format, maxMessage int) (maxSend int, err error) {
	hello := [4]byte{rawMagic, (rawExponent(maxMessage)-9)<<4 | rawSerializer(f)}
	if _, err := conn.Write(hello[:]); err != nil {
		return 0, err
	}
	var b [4]byte
	if _, err := io.ReadFull(conn, b[:1]); err != nil {
		return 0, fmt.Errorf("rawsocket handshake: no answer: %w", err)
	}
	if b[0] != rawMagic {
		return 0, &RawSocketError{Text: fmt.Sprintf("answer begins with octet 0x%02x, expected 0x7f: this is not a RawSocket port", b[0])}
	}
	if _, err := io.ReadFull(conn, b[1:]); err != nil {
		return 0, fmt.Errorf("rawsocket handshake: %w", err)
	}
	switch {
	case b[1]&0x0F == 0:
		code := b[1] >> 4
		return 0, &RawSocketError{Code: code, Text: fmt.Sprintf("refused serializer %s with messages up to %d bytes", f, 1<<rawExponent(maxMessage))}
	case b[1]&0x0F != rawSerializer(f):
		return 0, &RawSocketError{Text: fmt.Sprintf("answer names serializer %d, expected %d (%s)", b[1]&0x0F, rawSerializer(f), f)}
	case b[2] != 0 || b[3] != 0:
		return 0, &RawSocketError{Text: "octets 3 and 4 of the answer must be zero"}
	}
	return 1 << (9 + b[1]>>4), nil
}

// rawHeaderOf returns the header of a frame with n bytes of payload, 2^24 at most.
func rawHeaderOf(kind byte, n int) (h [rawHeader]byte) {
	binary.BigEndian.PutUint32(h[:], uint32(n)) // bit 24 of n is bit 0 of the first octet
	if h[0] != 0 {
		h[0] = rawLong
	}
	h[0] |= kind
	return h
}

// rawLength returns type and payload length of the frame that b begins.
func rawLength(b []byte) (kind byte, n int, err error) {
	n = int(b[1])<<16 | int(b[2])<<8 | int(b[3])
	if b[0]&rawLong != 0 {
		n |= 1 << 24
	}
	kind = b[0] & 0x07
	switch {
	case b[0]&0xF0 != 0:
		return 0, 0, fmt.Errorf("frame header 0x%02x has reserved bits set", b[0])
	case kind > rawPong:
		return 0, 0, fmt.Errorf("frame type %d is reserved", kind)
	case n > 1<<24:
		return 0, 0, fmt.Errorf("frame length %d is over 2^24", n)
	}
	return kind, n, nil
}

// finishRaw is the framing of RawSocket.
func finishRaw(dst []byte, start int) []byte {
	h := rawHeaderOf(rawRegular, len(dst)-start-rawHeader)
	copy(dst[start:], h[:])
	return dst
}

// rawPeer is a connection after the RawSocket handshake.
type rawPeer struct {
	link
	lent   int // bytes of the frame that the last message is in
	broken error
	info   wamp.PeerInfo
}

var (
	_ wamp.Peer    = (*rawPeer)(nil)
	_ wamp.Metered = (*rawPeer)(nil)
	_ wamp.Framer  = (*rawPeer)(nil)
)

func newRawPeer(conn net.Conn, f wamp.Format, maxSend int, opts *Options, t *turns) *rawPeer {
	limit := 1 << rawExponent(opts.MaxMessage)
	p := &rawPeer{
		info: peerInfo(conn, "rawsocket", f, maxSend),
	}
	p.init(conn, opts, t)
	p.decoder = serialize.NewDecoder(f, opts.limits(limit))
	p.framing = framing{
		format:   f,
		encoding: wamp.RawSocketJSON + wamp.Encoding(f-wamp.JSON),
		space:    rawHeader,
		maxSend:  maxSend,
		finish:   finishRaw,
	}
	p.tune(opts.silence())
	return p
}

// begin starts the keepalive, which sees p as it is set up by then.
func (p *rawPeer) begin() {
	if !p.opts.QuietRawSocket {
		p.watch(p)
	}
}

func (p *rawPeer) ping() error {
	h := rawHeaderOf(rawPing, 0)
	return p.control(h[:], false)
}

// Info describes the other end.
func (p *rawPeer) Info() wamp.PeerInfo { return p.info }

// Close ends the connection. See wamp.Peer.
func (p *rawPeer) Close() error {
	p.close(nil, true)
	return nil
}

// Recv returns the next message. See wamp.Peer.
func (p *rawPeer) Recv() (wamp.Message, error) {
	p.recv.Lock()
	defer p.recv.Unlock()
	if p.broken != nil {
		return nil, p.broken
	}
	for {
		p.pos += p.lent
		p.lent = 0
		p.unclaim()
		kind, body, err := p.frame()
		if err != nil {
			return nil, err
		}
		switch kind {
		case rawPing:
			if err := p.pong(body); err != nil {
				return nil, p.violation(malformed, err.Error())
			}
		case rawRegular:
			m, err := p.decoder.Decode(body)
			if err != nil {
				p.visit.refuse(malformed, err)
			}
			return m, err
		}
	}
}

// frame waits for a whole frame. Its body is valid until the next call.
func (p *rawPeer) frame() (kind byte, body []byte, err error) {
	p.want = rawHeader
	for len(p.unread()) < rawHeader {
		if err := p.fill(); err != nil {
			return 0, nil, p.cut(err)
		}
	}
	kind, n, err := rawLength(p.unread())
	if err != nil {
		return 0, nil, p.violation(malformed, err.Error())
	}
	if limit := p.opts.largest(1<<rawExponent(p.opts.MaxMessage), p.visit != nil && !p.joined.Load()); n > limit {
		return 0, nil, p.violation(tooLarge, fmt.Sprintf("frame of %d bytes is over the limit of %d", n, limit))
	}
	if err := p.claim(n); err != nil {
		return 0, nil, err
	}
	p.want = rawHeader + n
	for len(p.unread()) < p.want {
		if err := p.fill(); err != nil {
			return 0, nil, p.cut(err)
		}
	}
	p.lent = p.want
	return kind, p.unread()[rawHeader:p.want], nil
}

// cut tells an end between frames from one inside.
func (p *rawPeer) cut(err error) error {
	if errors.Is(err, io.EOF) && len(p.unread()) > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// violation makes the connection unusable for receiving.
func (p *rawPeer) violation(why reason, text string) error {
	p.broken = &wamp.ProtocolError{Text: "rawsocket: " + text}
	p.visit.refuse(why, p.broken)
	return p.broken
}

func (p *rawPeer) pong(body []byte) error {
	if len(body) > p.framing.maxSend {
		return errors.New("ping is larger than the answer may be")
	}
	h := rawHeaderOf(rawPong, len(body))
	frame := make([]byte, 0, rawHeader+len(body))
	err := p.control(append(append(frame, h[:]...), body...), false)
	if errors.Is(err, wamp.ErrQueueFull) {
		return errors.New("pings without reading the answers")
	}
	return nil
}

// silence is after how long without a sign of life a connection is dead; 0 = never.
func (o *Options) silence() time.Duration {
	if o.PingInterval < 0 {
		return 0
	}
	return o.PingInterval + o.PingTimeout
}
