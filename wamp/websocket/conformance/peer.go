package conformance

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
	"unicode/utf8"
)

// patience bounds every wait for the endpoint.
const patience = 30 * time.Second

// peer is the raw side of a connection. Whatever goes wrong fails the test.
type peer struct {
	testing.TB
	Endpoint
	conn   net.Conn
	br     *bufio.Reader
	client bool          // this side is: it masks and the endpoint does not
	got    *http.Request // a client's request that has been read already
	frames int           // written up to now

	deflate *deflate // nil without compression

	// The message that is being received.
	op         byte // 0 if there is none
	compressed bool
	message    []byte
}

// key returns the masking key of the next frame, nil for a frame without one.
func (p *peer) key(wrong bool) *[4]byte {
	p.frames++
	if p.client == wrong {
		return nil
	}
	return &keys[p.frames%len(keys)]
}

// encode returns the octets of frames.
func (p *peer) encode(frames ...frame) []byte {
	var b []byte
	for _, f := range frames {
		b = append(b, f.encode(p.key(f.wrongMask))...)
	}
	return b
}

// send writes frames at once.
func (p *peer) send(frames ...frame) {
	p.Helper()
	p.write(p.encode(frames...))
}

// chop writes frames in pieces of n octets, each a segment of its own.
func (p *peer) chop(n int, frames ...frame) {
	p.Helper()
	b := p.encode(frames...)
	for len(b) > n {
		p.write(b[:n])
		b = b[n:]
	}
	p.write(b)
}

func (p *peer) write(b []byte) {
	p.Helper()
	_ = p.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := p.conn.Write(b); err != nil {
		p.Fatalf("write: %v", err)
	}
}

// say sends a message in one frame.
func (p *peer) say(op byte, content []byte) {
	p.Helper()
	p.send(p.parts(op, content)...)
}

// parts returns the frames of a message that is cut into parts.
func (p *peer) parts(op byte, contents ...[]byte) []frame {
	frames := make([]frame, len(contents))
	for i, payload := range p.wrap(op, contents) {
		frames[i] = frame{head: opMore, payload: payload}
	}
	frames[0].head = op
	frames[len(frames)-1].head |= fin
	return frames
}

// received is what next returns: a control frame or a whole message.
type received struct {
	op      byte
	payload []byte
}

func (r received) String() string {
	name := map[byte]string{opText: "text", opBinary: "binary", opClose: "close", opPing: "ping", opPong: "pong"}[r.op]
	if len(r.payload) > 64 {
		return fmt.Sprintf("%s of %d octets %.64q...", name, len(r.payload), r.payload)
	}
	return fmt.Sprintf("%s %q", name, r.payload)
}

// next returns the next control frame or message. It checks every frame against
// the rules for whoever sends one.
func (p *peer) next() (received, error) {
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		head, payload, err := readFrame(p.br, !p.client)
		if err != nil {
			return received{}, err
		}
		op := head & 0x0F
		if head&(rsv2|rsv3) != 0 {
			return received{}, fmt.Errorf("frame 0x%02x has reserved bits", head)
		}
		if op >= opClose {
			if op > opPong || head&fin == 0 || head&rsv1 != 0 || len(payload) > 125 {
				return received{}, fmt.Errorf("control frame 0x%02x of %d octets", head, len(payload))
			}
			return received{op, payload}, nil
		}
		if err := p.collect(head, payload); err != nil {
			return received{}, err
		}
		if head&fin != 0 {
			return p.complete()
		}
	}
}

// collect adds a data frame to the message that is being received.
func (p *peer) collect(head byte, payload []byte) error {
	op := head & 0x0F
	switch {
	case op > opBinary:
		return fmt.Errorf("frame 0x%02x has a reserved opcode", head)
	case (op == opMore) != (p.op != 0):
		return fmt.Errorf("frame 0x%02x within a message: %v", head, p.op != 0)
	case head&rsv1 != 0 && (op == opMore || p.deflate == nil):
		return fmt.Errorf("frame 0x%02x has RSV1 set", head)
	case op != opMore:
		p.op, p.compressed, p.message = op, head&rsv1 != 0, nil
	}
	if len(p.message)+len(payload) > largest {
		return errors.New("a message is too large")
	}
	p.message = append(p.message, payload...)
	return nil
}

// complete returns the message that has been received.
func (p *peer) complete() (received, error) {
	m := received{p.op, p.message}
	p.op, p.message = 0, nil
	if p.compressed {
		p.deflate.seen++
		var err error
		if m.payload, err = p.deflate.in.message(m.payload); err != nil {
			return m, err
		}
	}
	if m.op == opText && !utf8.Valid(m.payload) {
		return m, errors.New("text that is not UTF-8")
	}
	return m, nil
}

// must is next without errors.
func (p *peer) must(want string) received {
	p.Helper()
	r, err := p.next()
	if err != nil {
		p.Fatalf("expected %s: %v", want, err)
	}
	return r
}

// echoes expects a message back.
func (p *peer) echoes(op byte, content []byte) {
	p.Helper()
	want := received{op, content}
	r := p.must(want.String())
	if r.op != op || !p.same(r, content) {
		p.Fatalf("received %v, expected %v", r, want)
	}
}

// same reports whether a message is the echo of content.
func (p *peer) same(r received, content []byte) bool {
	if p.Unwrap == nil {
		return bytes.Equal(r.payload, content)
	}
	got, err := p.Unwrap(r.op, r.payload)
	return err == nil && bytes.Equal(got, content)
}

// pong expects a pong.
func (p *peer) pong(payload string) {
	p.Helper()
	if r := p.must("pong " + payload); r.op != opPong || string(r.payload) != payload {
		p.Fatalf("received %v, expected pong %q", r, payload)
	}
}

// ping returns a ping.
func ping(payload string) frame { return frame{head: fin | opPing, payload: []byte(payload)} }

// fence expects nothing but the answer to a ping.
func (p *peer) fence() {
	p.Helper()
	p.send(ping("fence"))
	p.pong("fence")
}

// fails expects the endpoint to fail the connection, with one of these codes.
func (p *peer) fails(codes ...uint16) {
	p.Helper()
	r := p.must(fmt.Sprintf("close %d", codes))
	for p.Farewell && r.op == opText || p.Farewell && r.op == opBinary {
		r = p.must(fmt.Sprintf("close %d behind the farewell", codes))
	}
	if r.op != opClose {
		p.Fatalf("received %v, expected close %d", r, codes)
	}
	c, err := parseClose(r.payload)
	if err != nil {
		p.Fatal(err)
	}
	for _, code := range codes {
		if c.code == code {
			p.ended()
			return
		}
	}
	p.Fatalf("received close %d %q, expected %d", c.code, c.reason, codes)
}

// closes closes the connection in order: the close frame goes out with frames
// behind it, which have to be ignored, and its answer has to be the next.
func (p *peer) closes(payload []byte, want uint16, behind ...frame) {
	p.Helper()
	p.send(append([]frame{{head: fin | opClose, payload: payload}}, behind...)...)
	p.answersClose(want)
}

// done closes a connection on which everything was right.
func (p *peer) done() {
	p.Helper()
	p.closes(closing(1000, ""), 1000)
}

// answersClose expects the answer to a close frame, and the end.
func (p *peer) answersClose(want uint16) {
	p.Helper()
	r := p.must(fmt.Sprintf("close %d", want))
	for p.Farewell && (r.op == opText || r.op == opBinary) {
		r = p.must(fmt.Sprintf("close %d behind the farewell", want))
	}
	if r.op != opClose {
		p.Fatalf("received %v, expected close %d", r, want)
	}
	c, err := parseClose(r.payload)
	if err != nil {
		p.Fatal(err)
	}
	// An endpoint may close with its own code in place of the same one.
	if c.code != want && c.code != 1000 {
		p.Fatalf("received close %d %q, expected %d", c.code, c.reason, want)
	}
	p.ended()
}

// ended expects that nothing more comes. A server has to close the stream by
// itself, a client when the stream ends (RFC 6455, 7.1.1).
func (p *peer) ended() {
	p.Helper()
	if !p.client {
		if half, ok := p.conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	b, err := p.br.ReadByte()
	var late net.Error
	switch {
	case err == nil:
		p.Fatalf("octet 0x%02x behind the close frame", b)
	case errors.As(err, &late) && late.Timeout():
		p.Fatalf("the connection is still open after %v", patience)
	case err != io.EOF:
		p.Fatalf("after the close frame: %v", err)
	}
}
