package websocket_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"gantry/wamp/websocket"
)

// deflating serves f with compression and returns the URL.
func deflating(t *testing.T, limit int, f func(*websocket.Conn)) string {
	t.Helper()
	return serve(t, &websocket.Server{Config: websocket.Config{Deflate: true, MaxMessage: limit}}, f)
}

// offer opens a WebSocket by hand, with these extensions offered, and returns the
// connection and the extensions agreed on.
func offer(t *testing.T, url, extensions string) (net.Conn, *bufio.Reader, string) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "ws://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	request := "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Extensions: " + extensions + "\r\n\r\n"
	if _, err := c.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp, err)
	}
	return c, br, resp.Header.Get("Sec-Websocket-Extensions")
}

// compressed is a masked frame whose payload is b as it is on the wire.
func compressed(op websocket.Opcode, b []byte) []byte {
	frame := make([]byte, websocket.HeaderLen(len(b), true))
	websocket.PutHeader(frame, op|websocket.Deflated, len(b), &[4]byte{})
	return append(frame, b...)
}

// zeros is n zeros compressed as well as it goes.
func zeros(n int) []byte {
	var out bytes.Buffer
	w, _ := flate.NewWriter(&out, flate.BestCompression)
	block := make([]byte, 1<<20)
	for ; n > 0; n -= len(block) {
		_, _ = w.Write(block[:min(n, len(block))])
	}
	_ = w.Flush()
	return bytes.TrimSuffix(out.Bytes(), []byte("\x00\x00\xff\xff"))
}

// RFC 7692, 7.1: what is not understood or not wanted is declined, and then the
// connection goes on without compression.
func TestOffersOfCompression(t *testing.T) {
	t.Parallel()
	const both = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	url := deflating(t, 0, echo)
	for ext, want := range map[string]string{
		"permessage-deflate": both, both: both,
		"permessage-deflate; client_max_window_bits":                                 both,
		"permessage-deflate; client_max_window_bits=10":                              both,
		`permessage-deflate; server_max_window_bits="15"`:                            both + "; server_max_window_bits=15",
		"permessage-deflate; server_max_window_bits=10":                              both + "; server_max_window_bits=10",
		"permessage-deflate; server_max_window_bits":                                 "",
		"permessage-deflate; client_max_window_bits=16":                              "",
		"permessage-deflate; client_max_window_bits=7":                               "",
		"permessage-deflate; server_no_context_takeover=1":                           "",
		"permessage-deflate; something_new":                                          "",
		"permessage-deflate; client_max_window_bits; x, " + both:                     both,
		"permessage-deflate; server_max_window_bits=7, " + both:                      both,
		"permessage-deflate; server_no_context_takeover; server_no_context_takeover": "",
		"permessage-bzip2": "", "x-webkit-deflate-frame": "", ";;,,": "", "": "",
	} {
		if _, _, got := offer(t, url, ext); got != want {
			t.Errorf("%s: agreed on %q, expected %q", ext, got, want)
		}
	}
	plain := serve(t, &websocket.Server{}, echo)
	if _, _, got := offer(t, plain, both); got != "" {
		t.Errorf("a server without compression agrees on %q", got)
	}
	for _, cfg := range []websocket.Config{{}, {Deflate: true}} {
		if c := dial(t, &websocket.Dialer{Config: cfg}, url); c.Deflated() != cfg.Deflate {
			t.Errorf("client that wants compression %v has it %v", cfg.Deflate, c.Deflated())
		}
	}
	if dial(t, &websocket.Dialer{Config: websocket.Config{Deflate: true}}, plain).Deflated() {
		t.Error("compression against the server's will")
	}
}

// A window that the other side limits is kept to by not referring back at all.
func TestASmallWindowIsKeptTo(t *testing.T) {
	t.Parallel()
	p := prepare(t, websocket.Binary, strings.Repeat("abcdefgh", 1000))
	url := deflating(t, 0, func(c *websocket.Conn) {
		if c.Window() != 9 {
			t.Errorf("window is %d", c.Window())
		}
		_ = c.WritePrepared(p)
		_ = c.Write(websocket.Binary, []byte(strings.Repeat("abcdefgh", 1000)))
		_ = c.Close(websocket.CloseNormal, "")
	})
	_, br, _ := offer(t, url, "permessage-deflate; server_max_window_bits=9")
	var head [4]byte
	if _, err := io.ReadFull(br, head[:]); err != nil || head != [4]byte{0x82, 126, 8000 >> 8, 8000 & 255} {
		t.Fatalf("a prepared message begins % x, %v; compressed it would refer to anything", head, err)
	}
	if _, err := br.Discard(8000); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(br, head[:]); err != nil || head[0] != 0xC2 || int(head[2])<<8|int(head[3]) < 2000 {
		t.Errorf("a message begins % x, %v", head, err)
	}
}

func TestClientRefusesCompressionThatItDidNotAskFor(t *testing.T) {
	t.Parallel()
	hs := newForcing(t)
	_, err := (&websocket.Dialer{}).Dial(t.Context(), hs)
	var he *websocket.HandshakeError
	if !errors.As(err, &he) || !strings.Contains(he.Got, "permessage-deflate") {
		t.Errorf("error is %v", err)
	}
}

// newForcing is a server that agrees on compression whatever the client says.
func newForcing(t *testing.T) string {
	s := &websocket.Server{Config: websocket.Config{Deflate: true}}
	return serveHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Sec-Websocket-Extensions", "permessage-deflate")
		c, err := s.Upgrade(w, r)
		if err != nil {
			return
		}
		_, _, _ = c.Read()
		_ = c.Close(websocket.CloseNormal, "")
	}))
}

func TestCompressedMessagesOfEverySizeComeBack(t *testing.T) {
	t.Parallel()
	cfg := websocket.Config{Deflate: true, DeflateFrom: 100}
	c := dial(t, &websocket.Dialer{Config: cfg}, serve(t, &websocket.Server{Config: cfg}, echo))
	r := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{0, 1, 99, 100, 101, 125, 126, 1000, 65535, 65536, 70_000, 1 << 20} {
		noise := make([]byte, n)
		for i := range noise {
			noise[i] = byte(r.Uint32())
		}
		for _, sent := range [][]byte{bytes.Repeat([]byte{'x'}, n), noise} {
			if err := c.Write(websocket.Binary, sent); err != nil {
				t.Fatal(err)
			}
			if op, got, err := c.Read(); err != nil || op != websocket.Binary || !bytes.Equal(got, sent) {
				t.Fatalf("%d bytes: opcode %d, %d bytes, %v", n, op, len(got), err)
			}
		}
	}
}

func TestOnlyLargeMessagesAreCompressed(t *testing.T) {
	t.Parallel()
	url := deflating(t, 0, func(c *websocket.Conn) {
		for _, n := range []int{websocket.DefaultDeflateFrom - 1, websocket.DefaultDeflateFrom} {
			_ = c.Write(websocket.Text, bytes.Repeat([]byte{'x'}, n))
		}
		_ = c.Close(websocket.CloseNormal, "")
	})
	_, br, _ := offer(t, url, "permessage-deflate")
	var head [4]byte
	if _, err := br.Read(head[:]); err != nil || head != [4]byte{0x81, 126, 3, 255} {
		t.Fatalf("first frame begins % x, %v", head, err)
	}
	if _, err := br.Discard(websocket.DefaultDeflateFrom - 1); err != nil {
		t.Fatal(err)
	}
	if b, err := br.Peek(2); err != nil || b[0] != 0xC1 || b[1] > 100 {
		t.Errorf("second frame begins % x, %v", b, err)
	}
}

func TestDeflateInPlace(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 1000, 100_000} {
		b := append([]byte("head"), bytes.Repeat([]byte("abc"), n)...)
		out, smaller := websocket.Deflate(bytes.Clone(b), 4)
		if smaller != (n > 1) || !bytes.HasPrefix(out, []byte("head")) || !smaller && !bytes.Equal(out, b) {
			t.Errorf("%d bytes became %d, smaller: %v", len(b), len(out), smaller)
		}
	}
}

// The limit holds for what a message inflates to, before that is in memory.
func TestAZipBombIsRefusedAtTheLimit(t *testing.T) { // not parallel: it measures memory
	const limit = 1 << 20
	for name, bomb := range map[string]struct {
		wire []byte
		over bool
	}{
		"10 KiB for 10 MiB":     {zeros(10 << 20), true},
		"64 KiB for 64 MiB":     {zeros(64 << 20), true},
		"one over the limit":    {zeros(limit + 1), true},
		"the limit":             {zeros(limit), false},
		"empty blocks for ever": {append(bytes.Repeat([]byte("\x00\x00\x00\xff\xff"), 200_000), 0), false},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(chan error, 1)
			url := deflating(t, limit, func(c *websocket.Conn) {
				_, _, err := c.Read()
				seen <- err
				_ = c.Close(websocket.CloseNormal, "")
			})
			c, br, _ := offer(t, url, "permessage-deflate")
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			frame := compressed(websocket.Binary, bomb.wire)
			go func() { _, _ = c.Write(frame) }()
			err := <-seen
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > 6*limit {
				t.Errorf("%d bytes on the wire cost %d bytes of memory", len(bomb.wire), n)
			}
			if errors.Is(err, websocket.ErrTooBig) != bomb.over {
				t.Fatalf("the server reports %v", err)
			}
			want := byte(websocket.CloseNormal - 1000)
			if bomb.over {
				want = websocket.CloseTooBig - 1000
			}
			b := make([]byte, 4)
			if _, err := br.Read(b); err != nil || b[0] != 0x88 || b[2] != 3 || b[3] != 0xE8+want {
				t.Errorf("the answer is % x, %v", b, err)
			}
		})
	}
}

func TestADamagedCompressedMessageClosesWith1007(t *testing.T) {
	t.Parallel()
	url := deflating(t, 0, echo)
	for _, b := range []string{"\xff", "\x07", "\x01\xff\xff\x00\x00", "\x00\x05\x00\xfa\xffab", "\xf2\x48\xff\xff\xff"} {
		c, br, _ := offer(t, url, "permessage-deflate")
		if _, err := c.Write(compressed(websocket.Binary, []byte(b))); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 4)
		if _, err := br.Read(got); err != nil || string(got) != "\x88\x09\x03\xef" {
			t.Errorf("% x: the answer is % x, %v", b, got, err)
		}
	}
}

func TestACompressedFrameNeedsAnAgreement(t *testing.T) {
	t.Parallel()
	c, br, _ := offer(t, serve(t, &websocket.Server{}, echo), "permessage-deflate")
	if _, err := c.Write(compressed(websocket.Binary, zeros(10))); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := br.Read(got); err != nil || got[0] != 0x88 || string(got[2:]) != "\x03\xea" {
		t.Errorf("the answer is % x, %v", got, err)
	}
}

// FuzzInflate sends any octets as a compressed message.
func FuzzInflate(f *testing.F) {
	for _, b := range [][]byte{nil, {0}, zeros(100), zeros(1 << 20), []byte("\xf2\x48\xcd\xc9\xc9\x07\x00"), []byte("\x01\xff\xff\x00\x00")} {
		f.Add(b)
	}
	results := make(chan int, 1)
	hs := serveHTTP(f, upgrading(&websocket.Server{Config: websocket.Config{Deflate: true, MaxMessage: 1000}}, func(c *websocket.Conn) {
		_, b, _ := c.Read()
		results <- cap(b)
		_ = c.Abandon()
	}))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, _, _ := offer(t, hs, "permessage-deflate")
		if _, err := c.Write(compressed(websocket.Binary, b)); err != nil {
			t.Fatal(err)
		}
		_ = c.(*net.TCPConn).CloseWrite()
		if n := <-results; n > 4000 {
			t.Fatalf("%d bytes of memory for a limit of 1000", n)
		}
	})
}
