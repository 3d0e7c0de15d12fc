package natslink

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
)

const (
	// maxLine bounds a line of the protocol; the longest is INFO, with the addresses of
	// a cluster.
	maxLine = 32 << 10
	// maxMessage bounds what the server may send in one message: commands, and what
	// streams say.
	maxMessage = 256 << 10
)

var errLine = errors.New("not a line of the NATS protocol")

// guard is the connection as nats.go sees it. It lets only what its parser and this one
// read alike through, and no message above a size: nats.go reserves memory for
// whatever size it is told.
type guard struct {
	net.Conn
	max  uint64
	r    *bufio.Reader
	rest []byte // of the line that is being handed out; aliases r's memory, or its own
	left uint64 // bytes of payload that are still to come
	tail bool   // the end of a payload is still to come
}

func newGuard(nc net.Conn, limit uint64) *guard {
	return &guard{Conn: nc, max: limit, r: bufio.NewReaderSize(nc, maxLine)}
}

// Read hands out one checked line, or a part of a payload.
func (g *guard) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(g.rest) == 0 && g.left > 0 {
		n, err := g.r.Read(p[:min(uint64(len(p)), g.left)])
		g.left -= uint64(n)
		return n, err
	}
	if len(g.rest) == 0 {
		if err := g.next(); err != nil {
			_ = g.Close()
			return 0, err
		}
	}
	n := copy(p, g.rest)
	g.rest = g.rest[n:]
	if len(g.rest) == 0 {
		g.rest = nil
	}
	return n, nil
}

// next reads the end of a payload, or a line into rest. Behind the line of a message
// left says how much payload follows.
func (g *guard) next() (err error) {
	if g.rest, err = g.line(); err != nil {
		return err
	}
	if g.tail {
		g.tail = false
		if len(g.rest) != 2 {
			return fmt.Errorf("%w: a message is longer than announced", errLine)
		}
		return nil
	}
	if err := g.check(g.rest[:len(g.rest)-2]); err != nil {
		return fmt.Errorf("%w: %.80q", err, g.rest)
	}
	return nil
}

// line reads a line with its end, which is valid until the next read.
func (g *guard) line() ([]byte, error) {
	line, err := g.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("%w: longer than %d bytes", errLine, maxLine)
	case err != nil:
		return nil, err
	case len(line) < 2 || bytes.IndexByte(line, '\r') != len(line)-2:
		return nil, fmt.Errorf("%w: %.80q", errLine, line)
	}
	return line, nil
}

// check looks at a line without its end: messages are MSG subject sid [reply] size,
// and HMSG subject sid [reply] header-size size.
func (g *guard) check(line []byte) error {
	op, args, _ := bytes.Cut(line, []byte(" "))
	numbers := 1
	switch string(op) {
	case "PING", "PONG", "+OK":
		if len(op) != len(line) {
			return errLine
		}
		return nil
	case "INFO", "-ERR":
		return nil
	case "HMSG":
		numbers = 2
	case "MSG":
	default:
		return errLine
	}
	// nats-server 2.9 has two spaces where there is no reply subject.
	fields := bytes.FieldsFunc(args, func(r rune) bool { return r == ' ' })
	n := len(fields)
	if n != numbers+2 && n != numbers+3 || bytes.ContainsAny(args, "\t\x00") {
		return errLine
	}
	size, err := number(fields[n-1])
	if err != nil || size > g.max {
		return fmt.Errorf("%w: up to %d bytes in a message are taken", errLine, g.max)
	}
	if numbers == 2 {
		if header, err := number(fields[n-2]); err != nil || header > size {
			return errLine
		}
	}
	g.left, g.tail = size, true
	return nil
}

// number reads digits, and nothing but digits.
func number(b []byte) (uint64, error) {
	if len(b) > 10 || b[0] < '0' || b[0] > '9' {
		return 0, errLine
	}
	return strconv.ParseUint(string(b), 10, 64)
}
