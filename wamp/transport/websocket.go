package transport

import (
	"errors"
	"io"
	"net"
	"slices"
	"time"
	"unicode/utf8"

	"gantry/wamp"
	"gantry/wamp/serialize"
	"gantry/wamp/websocket"
)

// Subprotocol returns the WebSocket subprotocol of WAMP in format f
// (BP "WebSocket Transport").
func Subprotocol(f wamp.Format) string { return "wamp.2." + f.String() }

// wsConn is the connection beneath a WebSocket. Until the handshake is over it
// passes everything on; then it reads ahead into pooled memory, and what is
// written to it, whole control frames, goes into the queue.
type wsConn struct{ link }

var _ net.Conn = (*wsConn)(nil)

// Read returns what has been read ahead, or waits.
func (c *wsConn) Read(b []byte) (int, error) {
	if len(c.unread()) == 0 {
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(b, c.unread())
	c.pos += n
	return n, nil
}

// Write queues one control frame.
func (c *wsConn) Write(b []byte) (int, error) {
	if !c.handling.Load() {
		return c.conn.Write(b)
	}
	if err := c.control(b, websocket.Opcode(b[0]&0x0F) == websocket.Close); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close drops the connection.
func (c *wsConn) Close() error {
	c.fail(net.ErrClosed)
	return nil
}

// LocalAddr returns the address of this side.
func (c *wsConn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// RemoteAddr returns the address of the other side.
func (c *wsConn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// SetDeadline sets both deadlines during the handshake.
func (c *wsConn) SetDeadline(t time.Time) error {
	if c.handling.Load() {
		return nil
	}
	return c.conn.SetDeadline(t)
}

// SetReadDeadline sets the deadline of reads during the handshake.
func (c *wsConn) SetReadDeadline(t time.Time) error {
	if c.handling.Load() {
		return nil
	}
	return c.conn.SetReadDeadline(t)
}

// SetWriteDeadline sets the deadline of writes during the handshake.
func (c *wsConn) SetWriteDeadline(t time.Time) error {
	if c.handling.Load() {
		return nil
	}
	return c.conn.SetWriteDeadline(t)
}

// Sizes of the space that is reserved for a WebSocket header: most messages have
// 126 bytes or more and less than 64 KiB.
const (
	serverSpace = 4
	clientSpace = 8
)

// finishServer is the framing of a WebSocket server.
func (f *framing) finishServer(dst []byte, start int) []byte {
	dst, op := f.compress(dst, start)
	n := len(dst) - start - serverSpace
	dst = fit(dst, start, serverSpace, websocket.HeaderLen(n, false))
	websocket.PutHeader(dst[start:], op, n, nil)
	return dst
}

// finishClient is the framing of a WebSocket client: it masks.
func (f *framing) finishClient(dst []byte, start int) []byte {
	dst, op := f.compress(dst, start)
	n := len(dst) - start - clientSpace
	key := websocket.NewMaskKey()
	dst = fit(dst, start, clientSpace, websocket.HeaderLen(n, true))
	h := websocket.PutHeader(dst[start:], op, n, &key)
	websocket.Mask(key, dst[start+h:])
	return dst
}

// compress deflates the payload of the frame that begins at start where that has
// been agreed on and pays, and returns the frame's opcode.
func (f *framing) compress(dst []byte, start int) ([]byte, websocket.Opcode) {
	body := start + f.space
	if f.deflate == 0 || len(dst)-body < f.deflate {
		return dst, f.op
	}
	dst, deflated := websocket.Deflate(dst, body)
	if deflated {
		return dst, f.op | websocket.Deflated
	}
	return dst, f.op
}

// fit turns the space of have bytes at start into one of need bytes.
func fit(dst []byte, start, have, need int) []byte {
	switch {
	case need < have:
		n := copy(dst[start+need:], dst[start+have:])
		dst = dst[:start+need+n]
	case need > have:
		dst = slices.Insert(dst, start, make([]byte, need-have)...)
	}
	return dst
}

// fullWindow is the largest window of compression, in bits (RFC 7692, 7.1.2).
const fullWindow = 15

// wsPeer is a WebSocket connection that carries WAMP.
type wsPeer struct {
	*wsConn
	ws       *websocket.Conn
	op       websocket.Opcode // the only type of message
	server   bool
	strict   bool                     // the messages before WELCOME must be small
	lent     *buffer                  // holds the last message; nil if there is none
	batch    batch                    // what is left in it
	get      func(full []byte) []byte // see grow
	broken   error
	code     int // close code for what the other side did
	closeMsg string
	info     wamp.PeerInfo
}

var (
	_ wamp.Peer    = (*wsPeer)(nil)
	_ wamp.Metered = (*wsPeer)(nil)
)

// newWSPeer takes over c, which lies beneath ws, after the handshake.
func newWSPeer(ws *websocket.Conn, c *wsConn, f wamp.Format, k batching, server bool) *wsPeer {
	opts := c.opts
	p := &wsPeer{
		wsConn: c,
		ws:     ws,
		op:     websocket.Binary,
		server: server,
		batch:  batch{kind: k},
		code:   websocket.CloseNormal,
		info:   peerInfo(c.conn, "websocket", f, 0),
	}
	c.decoder = serialize.NewDecoder(f, opts.limits(opts.MaxMessage))
	if f == wamp.JSON {
		p.op = websocket.Text
	}
	p.get = p.grow
	ws.Grow(largeBuffer, func() error { return p.claim(opts.largestOf(k)) })
	p.strict = server
	ws.SetMaxMessage(opts.largest(opts.largestOf(k), p.strict))
	c.framing.frameWS(f, k, p.op, server)
	// What is compressed is shared by receivers of the full window; others get it plain.
	if ws.Window() == fullWindow {
		c.framing.deflate = opts.DeflateFrom
		if server && k == unbatched {
			c.framing.encoding = wamp.WebSocketJSONDeflated + wamp.Encoding(f-wamp.JSON)
		}
	}
	c.tune(opts.silence())
	c.arrived.Store(uint64(len(c.unread()))) // not what the handshake took
	c.handling.Store(true)
	p.watch(p)
	return p
}

func (p *wsPeer) ping() error { return p.control(p.frame(websocket.Ping, nil), false) }

// frameWS makes f the framing of a WebSocket.
func (f *framing) frameWS(format wamp.Format, k batching, op websocket.Opcode, server bool) {
	f.format, f.batching, f.op = format, k, op
	if !server {
		f.space, f.finish = clientSpace, f.finishClient
		return
	}
	f.space, f.finish = serverSpace, f.finishServer
	f.encoding = wamp.WebSocketJSON + wamp.Encoding(format-wamp.JSON)
	if k != unbatched {
		f.encoding = batchEncoding(format, k)
	}
}

// frame returns a control frame.
func (p *wsPeer) frame(op websocket.Opcode, payload []byte) []byte {
	b := make([]byte, websocket.HeaderLen(len(payload), !p.server), websocket.MaxHeader+len(payload))
	if p.server {
		websocket.PutHeader(b, op, len(payload), nil)
		return append(b, payload...)
	}
	key := websocket.NewMaskKey()
	h := websocket.PutHeader(b, op, len(payload), &key)
	b = append(b, payload...)
	websocket.Mask(key, b[h:])
	return b
}

// Info describes the other end.
func (p *wsPeer) Info() wamp.PeerInfo { return p.info }

// Recv returns the next message. See wamp.Peer.
func (p *wsPeer) Recv() (wamp.Message, error) {
	p.recv.Lock()
	defer p.recv.Unlock()
	if p.broken != nil {
		return nil, p.broken
	}
	if len(p.batch.rest) == 0 {
		if err := p.fetch(); err != nil {
			return nil, err
		}
	}
	raw := p.batch.next()
	m, err := p.decoder.Decode(raw)
	if err != nil {
		p.code, p.closeMsg = websocket.CloseProtocolError, "not a WAMP message"
		if p.op == websocket.Text && !utf8.Valid(raw) {
			p.code, p.closeMsg = websocket.CloseInvalidPayload, "not UTF-8" // RFC 6455, 8.1
		}
		p.visit.refuse(malformed, err)
	}
	return m, err
}

// fetch waits for the next frame with messages.
func (p *wsPeer) fetch() error {
	p.giveBack()
	if p.strict && p.joined.Load() {
		p.strict = false
		p.ws.SetMaxMessage(p.opts.largestOf(p.batch.kind))
	}
	op, b, err := p.ws.ReadInto(p.get)
	if p.lent != nil && b != nil {
		p.lent.b = b
	}
	if err != nil {
		return p.ended(err)
	}
	if op != p.op {
		p.code, p.closeMsg = websocket.CloseUnsupportedData, "wrong type of frame for the subprotocol"
		p.broken = &wamp.ProtocolError{Text: "websocket: " + frameName(op) + " frame, subprotocol " + p.ws.Subprotocol() + " has " + frameName(p.op) + " frames"}
		p.visit.refuse(malformed, p.broken)
		return p.broken
	}
	if p.batch.kind == unbatched {
		p.batch.rest = b
		return nil
	}
	next, err := newBatch(p.batch.kind, b)
	if err != nil {
		p.code, p.closeMsg = websocket.CloseProtocolError, err.Error()
		p.broken = &wamp.ProtocolError{Text: "websocket: " + err.Error()}
		p.visit.refuse(malformed, p.broken)
		return p.broken
	}
	if next.kind != p.batch.kind && p.opts.Separator == 0 {
		p.separate(next.kind)
	}
	p.batch = next
	return nil
}

// grow returns memory for the message that is arriving: first as much as has been
// read ahead, then twice as much as is full.
func (p *wsPeer) grow(full []byte) []byte {
	n := min(len(p.unread()), largeBuffer)
	if len(full) > 0 {
		n = max(2*len(full), largeBuffer)
	}
	next := getBuffer(n)
	next.b = append(next.b, full...)
	if p.lent != nil {
		p.lent.release()
	}
	p.lent = next
	return next.b
}

// giveBack ends the loan of the last message.
func (p *wsPeer) giveBack() {
	p.batch.rest = nil
	p.unclaim()
	if p.lent != nil {
		p.lent.release()
		p.lent = nil
	}
}

// ended returns what Recv reports for the error that ended the WebSocket.
func (p *wsPeer) ended(err error) error {
	var ce *websocket.CloseError
	switch {
	case errors.Is(err, websocket.ErrTooBig):
		p.visit.refuse(tooLarge, nil)
		p.code, p.closeMsg = websocket.CloseTooBig, "message is over the limit"
		p.broken = &wamp.ProtocolError{Text: "websocket: message is over the limit"}
	case errors.As(err, &ce) && ce.Normal():
		p.broken = io.EOF
	case errors.Is(err, io.EOF):
		p.broken = io.ErrUnexpectedEOF
	default:
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.broken = err; p.parted && !p.closing {
			// The library has refused a frame and sent a close frame.
			p.broken = &wamp.ProtocolError{Text: err.Error()}
			p.visit.refuse(malformed, p.broken)
		}
	}
	return p.broken
}

func frameName(op websocket.Opcode) string {
	if op == websocket.Text {
		return "text"
	}
	return "binary"
}

// Close ends the connection with a close frame. See wamp.Peer.
func (p *wsPeer) Close() error {
	code, text := websocket.CloseNormal, ""
	if p.recv.TryLock() {
		code, text = p.code, p.closeMsg
		p.recv.Unlock()
	}
	// A server closes the stream first (RFC 6455, 7.1.1).
	p.close(p.frame(websocket.Close, websocket.ClosePayload(code, text)), p.server)
	p.recv.Lock()
	p.lent = nil // not given back: the last message may still be in use
	p.recv.Unlock()
	return nil
}
