package websocket_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"gantry/wamp/websocket"
)

// reading serves s, reads until the end and tells its error.
func reading(t *testing.T, s *websocket.Server) (url string, end <-chan error) {
	t.Helper()
	ended := make(chan error, 16)
	return serve(t, s, func(c *websocket.Conn) {
		for {
			if _, _, err := c.Read(); err != nil {
				ended <- err
				_ = c.Close(websocket.CloseNormal, "")
				return
			}
		}
	}), ended
}

func TestWhatTheLibraryOverlooksIsRefused(t *testing.T) {
	t.Parallel()
	s := &websocket.Server{Config: websocket.Config{Deflate: true, MaxFrame: 1000}}
	url, end := reading(t, s)
	for _, tt := range []struct {
		name  string
		bytes string // header, masked with zeros, and payload
		code  int
	}{
		{"RSV1 on a ping", "\xc9\x80\x00\x00\x00\x00", 1002},
		{"RSV1 on a continuation", "\x01\x80\x00\x00\x00\x00\xc0\x80\x00\x00\x00\x00", 1002},
		{"close with half a code", "\x88\x81\x00\x00\x00\x00\x03", 1002},
		{"length with its highest bit", "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 1009},
		{"16-bit length of 5", "\x82\xfe\x00\x05\x00\x00\x00\x00", 1002},
		{"64-bit length of 5", "\x82\xff\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00", 1002},
		{"64-bit length of 65535", "\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x00\x00", 1002},
		{"frame over the limit", "\x82\xfe\x03\xe9\x00\x00\x00\x00", 1009},
		{"second frame over the limit", "\x02\x80\x00\x00\x00\x00\x80\xfe\x03\xe9\x00\x00\x00\x00", 1009},
		{"text that goes wrong in its second byte, its end is to come", "\x01\x85\x00\x00\x00\x00\xce\xff", 1007},
		{"text that ends within a character", "\x81\x81\x00\x00\x00\x00\xce", 1007},
		{"unmasked", "\x82\x01a", 1002},
	} {
		for _, piece := range []int{1, 1 << 20} {
			t.Run(fmt.Sprintf("%s, in pieces of %d", tt.name, piece), func(t *testing.T) {
				c, br, _ := offer(t, url, "permessage-deflate")
				for b := range chunks(tt.bytes, piece) {
					if _, err := c.Write([]byte(b)); err != nil {
						t.Fatal(err)
					}
				}
				got := make([]byte, 4)
				if _, err := io.ReadFull(br, got); err != nil || got[0] != 0x88 || int(got[2])<<8|int(got[3]) != tt.code {
					t.Errorf("answer % x, %v", got, err)
				}
				err := <-end
				var wrong *websocket.ProtocolError
				if !errors.Is(err, websocket.ErrTooBig) && (!errors.As(err, &wrong) || wrong.Code != tt.code) {
					t.Errorf("%#v", err)
				}
			})
		}
	}
}

func chunks(s string, n int) func(func(string) bool) {
	return func(yield func(string) bool) {
		for len(s) > 0 {
			m := min(n, len(s))
			if !yield(s[:m]) {
				return
			}
			s = s[m:]
		}
	}
}

func TestFaultsCanEndByDrop(t *testing.T) {
	t.Parallel()
	s := &websocket.Server{Config: websocket.Config{Deflate: true, FailByDrop: true, MaxMessage: 100}}
	url, end := reading(t, s)
	for name, b := range map[string]string{
		"refused by the library":      "\x83\x80\x00\x00\x00\x00",
		"refused by the wire":         "\xc9\x80\x00\x00\x00\x00",
		"refused for its text":        "\x81\x81\x00\x00\x00\x00\xff",
		"message over the limit":      "\x82\xfe\x03\xe9\x00\x00\x00\x00",
		"refused for its compression": "\xc2\x81\x00\x00\x00\x00\xff",
	} {
		t.Run(name, func(t *testing.T) {
			c, br, _ := offer(t, url, "permessage-deflate")
			if _, err := io.WriteString(c, b); err != nil {
				t.Fatal(err)
			}
			if n, err := br.Read(make([]byte, 1)); n > 0 || err == nil {
				t.Errorf("there is an answer: %d, %v", n, err)
			}
			if err := <-end; err == nil {
				t.Error("no error")
			}
		})
	}
	// A close frame of the other side is answered all the same.
	c, br, _ := offer(t, url, "permessage-deflate")
	if _, err := io.WriteString(c, "\x88\x82\x00\x00\x00\x00\x03\xe8"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(br, got); err != nil || string(got) != "\x88\x02\x03\xe8" {
		t.Errorf("% x, %v", got, err)
	}
}

func TestCloseFrameIsAnsweredWithItsCode(t *testing.T) {
	t.Parallel()
	for _, echo := range []bool{false, true} {
		url, end := reading(t, &websocket.Server{Config: websocket.Config{EchoReason: echo}})
		c, br, _ := offer(t, url, "")
		if _, err := io.WriteString(c, "\x88\x85\x00\x00\x00\x00\x0b\xb9bye"); err != nil {
			t.Fatal(err)
		}
		want := "\x88\x02\x0b\xb9"
		if echo {
			want = "\x88\x05\x0b\xb9bye"
		}
		got, _ := io.ReadAll(br)
		if string(got) != want {
			t.Errorf("answer % x, want % x", got, want)
		}
		var ce *websocket.CloseError
		if err := <-end; !errors.As(err, &ce) || *ce != (websocket.CloseError{Code: 3001, Reason: "bye"}) {
			t.Errorf("%#v", err)
		}
	}
}

func TestStatisticsCountWholeFrames(t *testing.T) {
	t.Parallel()
	client, server := both(t, &websocket.Server{}, &websocket.Dialer{})
	if err := client.Write(websocket.Binary, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := client.SendPing([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	if err := client.WriteWith(websocket.Binary, make([]byte, 20), websocket.WriteOptions{Fragment: 10}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := server.Read(); err != nil {
			t.Fatal(err)
		}
	}
	want := websocket.Stats{FramesIn: 4, MessagesIn: 2, BytesIn: 1000 + 8 + 3 + 6 + 20 + 12, PingsIn: 1, FramesOut: 1, BytesOut: 5}
	if got := server.Stats(); got != want {
		t.Errorf("server %+v, want %+v", got, want)
	}
	if got := client.Stats(); got.FramesOut != 4 || got.MessagesOut != 2 || got.BytesOut != want.BytesIn {
		t.Errorf("client %+v", got)
	}
}

func TestTraceShowsFramesAndOctets(t *testing.T) {
	t.Parallel()
	var trace bytes.Buffer
	url := serve(t, &websocket.Server{}, echo)
	c := dial(t, &websocket.Dialer{Config: websocket.Config{Trace: websocket.TraceTo(&trace, true), PingInterval: -1}}, url)
	for _, op := range []websocket.Opcode{websocket.Text, websocket.Binary} {
		if err := c.Write(op, []byte("hi")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Read(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Write(websocket.Text, make([]byte, 70_000)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(websocket.CloseNormal, "bye"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"> text, 2 bytes, masked\n", "< 81026869\n< text, 2 bytes\n", "> binary, 2 bytes, masked\n", "< binary, 2 bytes\n",
		"> text, 70000 bytes, masked\n", "< text, 70000 bytes\n",
		"> close, 5 bytes, masked\n", "< close, 2 bytes\n",
	} {
		if !strings.Contains(trace.String(), want) {
			t.Errorf("no %q in the trace", want)
		}
	}
}

func TestTraceLogsAtDebug(t *testing.T) {
	t.Parallel()
	for level, want := range map[slog.Level]string{slog.LevelDebug: `msg="websocket frame" sent=true frame="text, 2 bytes, masked"`, slog.LevelInfo: ""} {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))
		c := dial(t, &websocket.Dialer{Config: websocket.Config{Trace: websocket.TraceLog(log), PingInterval: -1}}, serve(t, &websocket.Server{}, echo))
		if err := c.Write(websocket.Text, []byte("hi")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Read(); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("level %v: %s", level, got)
		}
	}
}

func TestTheHeadersOfAnAnswerAreBounded(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n")
		for {
			if _, err := io.WriteString(c, "X-A: "+strings.Repeat("a", 1000)+"\r\n"); err != nil {
				return
			}
		}
	}()
	_, err = (&websocket.Dialer{}).Dial(t.Context(), "ws://"+ln.Addr().String())
	if err == nil || !strings.Contains(err.Error(), "longer than 64 KiB") {
		t.Error(err)
	}
}

func TestFramesThatComeWithTheAnswerAreSeen(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+
			acceptKey(r.Header.Get("Sec-Websocket-Key"))+"\r\n\r\n\x01\x01a\x80\x01b\x81\x01c")
		_, _ = c.Read(make([]byte, 100))
	}()
	c := dial(t, &websocket.Dialer{}, "ws://"+ln.Addr().String())
	if got := strings.Join(frames(t, c), "|"); got != "1false a|0true b" {
		t.Error(got)
	}
	if _, b, err := c.Read(); err != nil || string(b) != "c" {
		t.Errorf("%q, %v", b, err)
	}
	if s := c.Stats(); s.FramesIn != 3 || s.MessagesIn != 2 || s.BytesIn != 9 {
		t.Errorf("%+v", s)
	}
}
