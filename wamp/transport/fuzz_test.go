package transport_test

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
)

// FuzzServer writes any bytes to a server, from the first octet on or behind a
// handshake. Nothing may panic, hang, or cost memory that the bytes do not
// account for.
func FuzzServer(f *testing.F) {
	upgrade := func(f wamp.Format) string { return string(wamptest.Upgrade("/ws", transport.Subprotocol(f))) }
	batched := func(f wamp.Format) string {
		s := string(wamptest.Upgrade("/ws", transport.BatchedSubprotocol(f)))
		return strings.TrimSuffix(s, "\r\n") + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
	}
	starts := []string{"", "\x7F\xF1\x00\x00", "\x7F\xF2\x00\x00", "\x7F\x03\x00\x00",
		upgrade(wamp.JSON), upgrade(wamp.MsgPack), upgrade(wamp.CBOR),
		batched(wamp.JSON), batched(wamp.MsgPack), batched(wamp.CBOR)}
	for start := range starts {
		for _, b := range []string{
			"", "\x7F\xF1\x00\x00\x00\x00\x00\x0c[34, 7, 800]", "\x7F", "\x7F\x00\xff\xff", "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
			"\x00\x00\x00\x0c[34, 7, 800]", "\x01\x00\x00\x02hi\x02\x00\x00\x01x", "\x08\x00\x00\x00", "\x03\x00\x00\x00", "\xf0\x00\x00\x00",
			"\x00\x00\x00\x04\x93\x22\x07\x08", "\x00\x00\x00\x05\x83\x18\x22\x07\x08", "\x00\x00\x00\x06\xdd\xff\xff\xff\xff\x00",
			"\x81\x8c\x00\x00\x00\x00[34, 7, 800]", "\x82\x84\x00\x00\x00\x00\x93\x22\x07\x08", "\x01\x81\x00\x00\x00\x00[\x80\x81\x00\x00\x00\x00]",
			"\x89\x82\x01\x02\x03\x04hi\x8a\x80\x00\x00\x00\x00", "\x88\x82\x00\x00\x00\x00\x03\xe8", "\x82\xff\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00",
			"\x81\x8a\x00\x00\x00\x00[34,7,8]\x1e\x18", "\x82\x88\x00\x00\x00\x00\x00\x00\x00\x04\x93\x22\x07\x08", "\xc2\x85\x00\x00\x00\x00\xf2\x48\xff\xff\xff",
			"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", "\x83\x80\x00\x00\x00\x00", "\x82\x00",
		} {
			f.Add(uint8(start), []byte(b))
		}
	}
	opts := transport.Options{MaxMessage: 1 << 24, Linger: time.Second, HandshakeTimeout: 5 * time.Second, Batched: true, Deflate: true}
	s := serve(f, "tcp", transport.ServerConfig{Options: opts}, echo)
	f.Fuzz(func(t *testing.T, start uint8, b []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(wamptest.Deadline))
		if hello := starts[int(start)%len(starts)]; hello != "" {
			if _, err := c.Write([]byte(hello)); err != nil {
				t.Fatal(err)
			}
			// WebSocket wants nothing behind the request before it has answered.
			var one [1]byte
			if _, err := io.ReadFull(c, one[:]); err != nil {
				t.Fatal(err)
			}
		}
		// A server that has hung up already makes the write fail.
		_, _ = c.Write(b)
		_ = c.(*net.TCPConn).CloseWrite()
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the server keeps a connection that has ended")
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > uint64(1<<20+256*len(b)) {
			t.Fatalf("%d bytes of input cost %d bytes of memory", len(b), n)
		}
	})
}
