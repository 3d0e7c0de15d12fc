package transport_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
	"gantry/wamp/websocket"
)

// AP RawSocket, "Handshake".
func TestRawSocketHandshakeRefusals(t *testing.T) {
	t.Parallel()
	s := serve(t, "tcp", transport.ServerConfig{Options: hasty, Formats: []wamp.Format{wamp.JSON, wamp.CBOR}}, echo)
	for _, c := range []struct {
		name   string
		hello  string
		answer string // "" = closed without one
	}{
		{"serializer zero", "\x7F\xF0\x00\x00", "\x7F\x10\x00\x00"},
		{"serializer that is switched off", "\x7F\xF2\x00\x00", "\x7F\x10\x00\x00"},
		{"serializer that nobody knows", "\x7F\xFF\x00\x00", "\x7F\x10\x00\x00"},
		{"third octet is set", "\x7F\xF1\x01\x00", "\x7F\x30\x00\x00"},
		{"fourth octet is set", "\x7F\xF1\x00\x80", "\x7F\x30\x00\x00"},
		{"end after the first octet", "\x7F", ""},
		{"a message behind the refused handshake", "\x7F\xF0\x00\x00\x00\x00\x00\x02[]", "\x7F\x10\x00\x00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conn := s.conn(t)
			if _, err := conn.Write([]byte(c.hello)); err != nil {
				t.Fatal(err)
			}
			_ = conn.(*net.TCPConn).CloseWrite()
			got, err := io.ReadAll(conn)
			if err != nil || string(got) != c.answer {
				t.Errorf("answered by % x, %v; expected % x and the end", got, err, c.answer)
			}
		})
	}
}

func TestRawSocketAnswersWithItsOwnLimit(t *testing.T) {
	t.Parallel()
	for limit, nibble := range map[int]byte{512: 0, 1000: 0, 1 << 16: 7, 1<<24 - 1: 14, 1 << 24: 15} {
		s := serve(t, "tcp", transport.ServerConfig{Options: transport.Options{MaxMessage: limit}}, echo)
		conn := s.conn(t)
		if _, err := conn.Write([]byte{0x7F, 0x01, 0, 0}); err != nil {
			t.Fatal(err)
		}
		var got [4]byte
		if _, err := io.ReadFull(conn, got[:]); err != nil || got != [4]byte{0x7F, nibble<<4 | 1} {
			t.Errorf("limit %d: answered by % x, %v", limit, got, err)
		}
	}
}

// answering returns the address of a port that answers every connection with
// text, once the client has said something.
func answering(t *testing.T, text string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 512))
			_, _ = io.WriteString(c, text)
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

func TestDialTellsWhatTheRawSocketPortAnswered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, answer string
		code         uint8
		text         string
	}{
		{"serializer unsupported", "\x7F\x10\x00\x00", transport.RawUnsupportedSerializer, "serializer unsupported"},
		{"length unacceptable", "\x7F\x20\x00\x00", transport.RawLengthUnacceptable, "length unacceptable"},
		{"reserved bits", "\x7F\x30\x00\x00", transport.RawReservedBits, "reserved bits"},
		{"too many connections", "\x7F\x40\x00\x00", transport.RawTooManyConnections, "maximum number of connections"},
		{"illegal code zero", "\x7F\x00\x00\x00", 0, "refused"},
		{"other serializer", "\x7F\xF2\x00\x00", 0, "answer names serializer 2"},
		{"reserved octets", "\x7F\xF1\x01\x00", 0, "octets 3 and 4"},
		{"a web server", "HTTP/1.1 400 Bad Request\r\n\r\n", 0, "not a RawSocket port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, err := transport.Dial(t.Context(), "rs://"+answering(t, c.answer), transport.DialConfig{Formats: []wamp.Format{wamp.JSON}})
			if err == nil {
				_ = p.Close()
				t.Fatal("the answer was taken for an agreement")
			}
			var refusal *transport.RawSocketError
			if !errors.As(err, &refusal) || refusal.Code != c.code || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error is %v", err)
			}
		})
	}
	t.Run("nothing", func(t *testing.T) {
		t.Parallel()
		if _, err := transport.Dial(t.Context(), "rs://"+answering(t, ""), transport.DialConfig{Formats: []wamp.Format{wamp.JSON}}); !errors.Is(err, io.EOF) {
			t.Errorf("error is %v", err)
		}
	})
}

func TestSubprotocolThatIsUnknownIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, "tcp", transport.ServerConfig{}, echo)
	for _, offer := range []string{"", "wamp.2.ubjson", "mqtt", "wamp.2.json.batched", "wamp.2.batched", "WAMP.2.JSON"} {
		conn := s.conn(t)
		if _, err := conn.Write(wamptest.Upgrade("/ws", offer)); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("subprotocol %q was answered %s", offer, resp.Status)
		}
	}
	conn := s.conn(t)
	if _, err := conn.Write(wamptest.Upgrade("/ws", "mqtt, wamp.2.cbor, wamp.2.json")); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.Header.Values("Sec-Websocket-Protocol"); resp.StatusCode != 101 || len(got) != 1 || got[0] != "wamp.2.cbor" {
		t.Errorf("answered %s with subprotocol %v", resp.Status, got)
	}
	_, err = transport.Dial(t.Context(), "ws://"+answering(t, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), transport.DialConfig{})
	var he *websocket.HandshakeError
	if !errors.As(err, &he) || he.Status != http.StatusNotFound {
		t.Errorf("a port without WebSocket is reported as %v", err)
	}
}

func TestHandshakeInSingleOctetsWorks(t *testing.T) {
	t.Parallel()
	s := serve(t, "tcp", transport.ServerConfig{}, echo)
	each(t, func(t *testing.T, l wamptest.Link) {
		p := wamptest.Over(t, dribble{s.conn(t)}, l)
		for range 3 {
			p.Send(`[36, 1, 2, {}, ["some text that makes it a longer message"]]`)
			p.Expect(`[36, 1, 2, {}, ["some text that makes it a longer message"]]`)
		}
	})
}

// A request that is too long to be upgraded at once is answered as one that is not.
func TestWebSocketRequestsAreAnsweredAlike(t *testing.T) {
	t.Parallel()
	cfg := transport.ServerConfig{
		Options: transport.Options{Deflate: true}, Origins: []string{"http://friend"},
		CheckHost: func(host string) bool { return host != "stranger" },
	}
	s := serve(t, "tcp", cfg, echo)
	plain := string(wamptest.Upgrade("/ws", "mqtt, wamp.2.cbor"))
	with := func(header string) string { return strings.Replace(plain, "\r\n\r\n", "\r\n"+header+"\r\n\r\n", 1) }
	for name, request := range map[string]string{
		"plain":              plain,
		"own origin":         with("Origin: http://localhost"),
		"allowed origin":     with("Origin: http://friend"),
		"another origin":     with("Origin: http://foe"),
		"compression":        with("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"),
		"other compression":  with("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9"),
		"another host":       strings.Replace(plain, "localhost", "stranger", 1),
		"another protocol":   strings.Replace(plain, "wamp.2.cbor", "wamp.2.flatbuffers", 1),
		"another path":       strings.Replace(plain, "/ws", "/", 1),
		"another version":    strings.Replace(plain, "13", "8", 1),
		"another method":     strings.Replace(plain, "GET", "PUT", 1),
		"compression, twice": with("Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Extensions: x"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var answers [2]string
			for i, pad := range []int{0, 8 << 10} {
				conn := s.conn(t)
				if _, err := io.WriteString(conn, strings.Replace(request, "\r\nHost", "\r\nX-Pad: "+strings.Repeat("x", pad)+"\r\nHost", 1)); err != nil {
					t.Fatal(err)
				}
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				resp.Header.Del("Date")
				answers[i] = fmt.Sprint(resp.Status, resp.Header)
			}
			if answers[0] != answers[1] {
				t.Errorf("%s\n%s", answers[0], answers[1])
			}
		})
	}
}

// The client of RawSocket may say more before it has its answer.
func TestRawSocketMessageRightBehindTheHandshake(t *testing.T) {
	t.Parallel()
	s := serve(t, "tcp", transport.ServerConfig{}, echo)
	for _, n := range []int{1, 1900, 5000} {
		conn := s.conn(t)
		body := "[36, 1, 2, {}, [\"" + strings.Repeat("x", n) + "\"]]"
		message := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
		if _, err := conn.Write(append([]byte{0x7F, 0xF1, 0, 0}, message...)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 4+4+len("[36,1,2,{},[\"\"]]")+n)
		if _, err := io.ReadFull(conn, got); err != nil || got[0] != 0x7F {
			t.Fatalf("%q, %v", got, err)
		}
		if want := "[36,1,2,{},[\"" + strings.Repeat("x", n) + "\"]]"; string(got[8:]) != want {
			t.Errorf("%d: % x, %q", n, got[:8], got[8:min(len(got), 100)])
		}
	}
}

// dribble writes one octet at a time, each in a packet of its own.
type dribble struct{ net.Conn }

func (d dribble) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := d.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

func TestSlowHandshakeTimesOut(t *testing.T) {
	t.Parallel()
	s := serve(t, "tcp", transport.ServerConfig{Options: transport.Options{HandshakeTimeout: 50 * time.Millisecond}}, nil)
	for name, begin := range map[string]string{
		"silence":                "",
		"one octet of rawsocket": "\x7F",
		"half of rawsocket":      "\x7F\xF1\x00",
		"one octet of http":      "G",
		"half of http":           "GET /ws HTTP/1.1\r\nHost: x\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := s.conn(t)
			if _, err := io.WriteString(conn, begin); err != nil {
				t.Fatal(err)
			}
			// HTTP may say a word of parting.
			if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, net.ErrClosed) {
				var ne net.Error
				if errors.As(err, &ne) && ne.Timeout() {
					t.Error("the connection is still open")
				}
			}
		})
	}
}

func TestDialGivesUpOnASilentPort(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	for _, scheme := range []string{"ws", "rs", "wss", "rss"} {
		started := time.Now()
		p, err := transport.Dial(t.Context(), scheme+"://"+ln.Addr().String(), transport.DialConfig{Timeout: 50 * time.Millisecond})
		if err == nil {
			_ = p.Close()
			t.Errorf("%s: connected to nobody", scheme)
		}
		if d := time.Since(started); d > wamptest.Deadline/2 {
			t.Errorf("%s: gave up after %v", scheme, d)
		}
	}
}
