package frame_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/frame"
	"gantry/drivers/serialport"
)

// server is a device at the far end of TCP connections, one after the other.
type server struct {
	net.Listener
	mu   sync.Mutex // guards conn
	conn net.Conn   // the one that is open
}

// newServer returns a device that answers as newBoard's does.
func newServer(t *testing.T, heard func(b []byte) (used int, answer []byte)) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Listener: ln}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conn = c
			s.mu.Unlock()
			done.Go(func() {
				defer c.Close()
				answer(c, heard)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		s.hangUp()
		done.Wait()
	})
	return s
}

// answer answers what comes until the other side is gone: heard is told what has come
// and says how much of it is a request, and what to send.
func answer(c io.ReadWriter, heard func(b []byte) (used int, answer []byte)) {
	var have []byte
	buf := make([]byte, 256)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		have = append(have, buf[:n]...)
		for {
			used, reply := heard(have)
			if used == 0 {
				break
			}
			have = have[used:]
			if _, err := c.Write(reply); err != nil {
				return
			}
		}
	}
}

// hangUp ends the connection.
func (s *server) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.conn.Close()
	}
}

func (s *server) driver(t *testing.T, cfg frame.Config) drivers.Driver {
	t.Helper()
	cfg.Port, cfg.Line, cfg.TCP = serialport.Config{}, serialport.LineConfig{}, s.Addr().String()
	d, err := frame.New(cfg, drivers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConformanceOverTCP(t *testing.T) {
	drivertest.Test(t, func(t *testing.T) drivers.Driver {
		heard, _ := mhz19(t)
		return newServer(t, heard).driver(t, sample(t, "co2"))
	})
}

// The same exchange in each way of framing, over both kinds of wire: the bytes of the
// value are those that have to be escaped.
func TestFramingsOverBothWires(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ frame, asked, answer string }{
		"SLIP": {
			`frame = { kind = "delimiter", end = "C0", escape = { byte = "DB", map = { DC = "C0", DD = "DB" } } }`,
			"01 C0", "02 DB DC DB DD C0",
		},
		"HDLC": {
			`frame = { kind = "delimiter", start = "7E", end = "7E", escape = { byte = "7D", xor = 0x20 } }`,
			"7E 01 7E", "7E 02 C0 DB 7E",
		},
		"DLE": {
			`frame = { kind = "delimiter", start = "10 02", end = "10 03", escape = { byte = "10" } }`,
			"10 02 01 10 03", "10 02 02 C0 DB 10 03",
		},
		"length of two bytes": {
			"frame = { kind = \"length\", start = \"55\", length = { at = 1, size = 2, add = 3 } }",
			"55 00 01 01", "55 00 03 02 C0 DB",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start, at := "", "1"
			switch name {
			case "HDLC":
				start, at = "7E ", "2"
			case "DLE":
				start, at = "10 02 ", "3"
			case "length of two bytes":
				start, at = "55 {length} ", "4"
			}
			cfg := parse(t, tt.frame+`
[message.m]
request = "`+start+`01"
[point.v]
at = `+at+`
type = "u16"
`)
			asked := unhex(t, tt.asked)
			heard := func(b []byte) (int, []byte) {
				if i := bytes.Index(b, asked); i >= 0 {
					return i + len(asked), unhex(t, tt.answer)
				}
				return 0, nil
			}
			far := newServer(t, heard)
			overTCP := far.driver(t, cfg)
			drivertest.Start(t, overTCP).WaitUp(t, 1)
			overPort, _ := newBoard(t, heard).start(cfg)
			for wire, d := range map[string]drivers.Driver{"TCP": overTCP, "port": overPort} {
				got, err := d.(drivers.Reader).Read(t.Context(), []string{"v"})
				if err != nil || len(got) != 1 || got[0].Value != int64(0xC0DB) {
					t.Errorf("%s: %+v, %v", wire, got, err)
				}
			}
		})
	}
}

// A server that hangs up is a device that is lost, with a reason.
func TestTCPHangsUp(t *testing.T) {
	t.Parallel()
	heard, _ := mhz19(t)
	far := newServer(t, heard)
	d := far.driver(t, sample(t, "co2"))
	link := &drivertest.Link{}
	ended := make(chan error, 1) // what Run returned
	go func() { ended <- d.Run(t.Context(), link) }()
	link.WaitUp(t, 1)
	far.hangUp()
	if err := <-ended; !errors.Is(err, drivers.ErrOffline) {
		t.Errorf("%v", err)
	}
}
