package wamptest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"gantry/wamp"
)

// Frame is one frame as it is on the wire.
type Frame struct {
	// Kind is the opcode of WebSocket (RFC 6455, 5.2) or the type of RawSocket
	// (AP RawSocket, "Serialization").
	Kind    byte
	Payload []byte
}

// Kinds of frames.
const (
	Text   = 1
	Binary = 2
	Close  = 8
	Ping   = 9
	Pong   = 10

	RawRegular = 0
	RawPing    = 1
	RawPong    = 2
)

// wire is the framing of a link.
type wire interface {
	handshake(c net.Conn, f wamp.Format) error
	read(r io.Reader) (Frame, error)
	// encode returns the bytes of a frame.
	encode(Frame) []byte
	// regular is the kind of the frames that carry messages.
	regular(f wamp.Format) byte
	// control tells what a frame that carries no message is: 'i' for a ping, 'o'
	// for a pong, 'c' for a close frame, 0 for none of them.
	control(kind byte) byte
	pong() byte
}

// RawSerializer returns the number of f in the handshake of RawSocket.
func RawSerializer(f wamp.Format) byte {
	return map[wamp.Format]byte{wamp.JSON: 1, wamp.MsgPack: 2, wamp.CBOR: 3}[f]
}

type rawWire struct{ length byte }

func (w rawWire) handshake(c net.Conn, f wamp.Format) error {
	want := w.length<<4 | RawSerializer(f)
	if _, err := c.Write([]byte{0x7F, want, 0, 0}); err != nil {
		return err
	}
	var b [4]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return err
	}
	if b[0] != 0x7F || b[1]&0x0F != want&0x0F || b[2] != 0 || b[3] != 0 {
		return fmt.Errorf("rawsocket handshake answered by % x", b)
	}
	return nil
}

func (rawWire) read(r io.Reader) (Frame, error) {
	var h [4]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return Frame{}, err
	}
	n := int(binary.BigEndian.Uint32(h[:])) & 0xFFFFFF
	if h[0]&0x08 != 0 {
		n = 1 << 24
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return Frame{Kind: h[0] &^ 0x08, Payload: b}, err
}

func (rawWire) encode(f Frame) []byte {
	h := binary.BigEndian.AppendUint32(nil, uint32(len(f.Payload))&0xFFFFFF)
	h[0] = f.Kind
	if len(f.Payload) == 1<<24 {
		h[0] |= 0x08
	}
	return append(h, f.Payload...)
}

func (rawWire) regular(wamp.Format) byte { return RawRegular }
func (rawWire) pong() byte               { return RawPong }

func (rawWire) control(kind byte) byte {
	switch kind {
	case RawPing:
		return 'i'
	case RawPong:
		return 'o'
	}
	return 0
}

type wsWire struct {
	path    string
	batched bool
}

// Upgrade is a request that opens a WebSocket with one subprotocol.
func Upgrade(path, subprotocol string) []byte {
	return []byte("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: " + subprotocol + "\r\n\r\n")
}

func (w wsWire) handshake(c net.Conn, f wamp.Format) error {
	subprotocol := "wamp.2." + f.String()
	if w.batched {
		subprotocol += ".batched"
	}
	if _, err := c.Write(Upgrade(w.path, subprotocol)); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(single{c}), nil)
	if err != nil {
		return err
	}
	if got := resp.Header.Get("Sec-WebSocket-Protocol"); resp.StatusCode != 101 || got != subprotocol {
		return fmt.Errorf("websocket handshake answered by %s, subprotocol %q", resp.Status, got)
	}
	return nil
}

// single reads byte by byte, so that nothing behind the answer is taken.
type single struct{ net.Conn }

func (s single) Read(b []byte) (int, error) { return s.Conn.Read(b[:min(len(b), 1)]) }

func (wsWire) read(r io.Reader) (Frame, error) {
	var h [2]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return Frame{}, err
	}
	n := uint64(h[1] & 0x7F)
	var long [8]byte
	switch n {
	case 126:
		if _, err := io.ReadFull(r, long[6:]); err != nil {
			return Frame{}, err
		}
		n = binary.BigEndian.Uint64(long[:])
	case 127:
		if _, err := io.ReadFull(r, long[:]); err != nil {
			return Frame{}, err
		}
		n = binary.BigEndian.Uint64(long[:])
	}
	switch {
	case h[0]&0xF0 != 0x80:
		return Frame{}, fmt.Errorf("frame header 0x%02x: fragments and extensions are not expected", h[0])
	case h[1]&0x80 != 0:
		return Frame{}, fmt.Errorf("a server masks")
	case n > 1<<26:
		return Frame{}, fmt.Errorf("frame of %d bytes", n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return Frame{Kind: h[0] & 0x0F, Payload: b}, err
}

// maskKey is the same for all frames: a test is no intermediary to be fooled.
var maskKey = [4]byte{0x12, 0x34, 0x56, 0x78}

func (wsWire) encode(f Frame) []byte {
	b := []byte{0x80 | f.Kind, 0x80}
	switch n := len(f.Payload); {
	case n >= 1<<16:
		b[1] |= 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	case n > 125:
		b[1] |= 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] |= byte(n)
	}
	b = append(b, maskKey[:]...)
	for i, c := range f.Payload {
		b = append(b, c^maskKey[i%4])
	}
	return b
}

func (wsWire) regular(f wamp.Format) byte {
	if f == wamp.JSON {
		return Text
	}
	return Binary
}

func (wsWire) pong() byte { return Pong }

func (wsWire) control(kind byte) byte {
	switch kind {
	case Ping:
		return 'i'
	case Pong:
		return 'o'
	case Close:
		return 'c'
	}
	return 0
}

// appendToBatch adds a message to a batch (AP "Message Batching").
func appendToBatch(batch []byte, f wamp.Format, message []byte) []byte {
	if f == wamp.JSON {
		return append(append(batch, message...), separator)
	}
	return append(binary.BigEndian.AppendUint32(batch, uint32(len(message))), message...)
}

// separator stands behind each message of a JSON batch.
const separator = 0x1E

func splitBatch(f wamp.Format, b []byte) ([][]byte, error) {
	var messages [][]byte
	for len(b) > 0 {
		var n, skip int
		switch {
		case f == wamp.JSON: // the last octet tells the separator
			n, skip = bytes.IndexByte(b, b[len(b)-1]), 1
		case len(b) >= 4:
			n, b = int(binary.BigEndian.Uint32(b)), b[4:]
		default:
			n = -1
		}
		if n < 0 || n+skip > len(b) {
			return nil, errors.New("a batch that is cut short")
		}
		messages, b = append(messages, b[:n]), b[n+skip:]
	}
	return messages, nil
}
