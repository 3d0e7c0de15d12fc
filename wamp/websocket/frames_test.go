package websocket_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"gantry/wamp/websocket"
)

// frames reads a message frame by frame and returns each as "type payload".
func frames(t *testing.T, c *websocket.Conn) (all []string) {
	t.Helper()
	_, r, err := c.Reader()
	if err != nil {
		t.Fatal(err)
	}
	for {
		h, err := r.NextFrame()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Length != 1<<64-1 && h.Length != uint64(len(b)) {
			t.Errorf("header says %d bytes, frame has %d", h.Length, len(b))
		}
		if len(b) > 20 {
			b = fmt.Appendf(nil, "(%d)", len(b))
		}
		all = append(all, fmt.Sprintf("%d%v %s", h.Opcode, h.Final, b))
	}
}

func TestFramesAreVisibleBothWays(t *testing.T) {
	t.Parallel()
	client, server := both(t, &websocket.Server{}, &websocket.Dialer{})
	for _, way := range []struct {
		name     string
		from, to *websocket.Conn
	}{{"client to server", client, server}, {"server to client", server, client}} {
		t.Run(way.name, func(t *testing.T) {
			send := func(final bool, payloads ...string) {
				w, err := way.from.Writer(t.Context(), websocket.Text, websocket.WriteOptions{})
				if err != nil {
					t.Fatal(err)
				}
				for i, p := range payloads {
					if final && i == len(payloads)-1 {
						_, err = io.WriteString(w, p)
					} else {
						err = w.WriteFrame([]byte(p))
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
			}
			long := strings.Repeat("x", 70_000)
			for _, tt := range []struct {
				final bool
				sent  []string
				want  string
			}{
				{true, []string{"a"}, "1true a"},
				{true, []string{""}, "1true "},
				{true, []string{"a", "b", "c"}, "1false a|0false b|0true c"},
				{false, []string{"a", "b"}, "1false a|0false b|0true "},
				{false, []string{"", "", ""}, "1false |0false |0false |0true "},
				{true, []string{"", "a", "", "b"}, "1false |0false a|0false |0true b"},
				{true, []string{long[:60_000], "ä"}, "1false (60000)|0true ä"},
			} {
				send(tt.final, tt.sent...)
				if got := strings.Join(frames(t, way.to), "|"); got != tt.want {
					t.Errorf("sent %d frames: got %s, want %s", len(tt.sent), got, tt.want)
				}
			}
		})
	}
}

func TestUnreadFramesAreSkipped(t *testing.T) {
	t.Parallel()
	client, server := both(t, &websocket.Server{}, &websocket.Dialer{})
	go func() {
		for i := range 200 {
			_ = client.WriteWith(websocket.Text, fmt.Appendf(nil, "%0*d", 1+i*37%500, i), websocket.WriteOptions{Fragment: 7 + i%90})
		}
	}()
	for i := range 200 {
		_, r, err := server.Reader()
		if err != nil {
			t.Fatal(err)
		}
		switch i % 5 {
		case 0: // not read at all
		case 1:
			if _, err := r.NextFrame(); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Read(make([]byte, 3)); err != nil {
				t.Fatal(err)
			}
		case 2:
			if _, err := r.Read(make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
			if _, err := r.NextFrame(); err == nil {
				t.Fatal("NextFrame after Read is not refused")
			}
		default:
			n := 0
			for {
				h, err := r.NextFrame()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				n += int(h.Length)
			}
			if want := len(fmt.Sprintf("%0*d", 1+i*37%500, i)); n != want {
				t.Fatalf("message %d has %d bytes in its frames, want %d", i, n, want)
			}
		}
	}
}

func TestMessagesStreamWithoutBeingWhole(t *testing.T) {
	t.Parallel()
	for _, deflate := range []bool{false, true} {
		t.Run(fmt.Sprint("compressed ", deflate), func(t *testing.T) {
			cfg := websocket.Config{Deflate: deflate, MaxMessage: 8 << 20}
			client, server := both(t, &websocket.Server{Config: cfg}, &websocket.Dialer{Config: cfg})
			w, err := client.Writer(t.Context(), websocket.Binary, websocket.WriteOptions{})
			if err != nil {
				t.Fatal(err)
			}
			// The beginning arrives while the end has not been written.
			if _, err := io.WriteString(w, "begin"); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			_, r, err := server.Reader()
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 5)
			if _, err := io.ReadFull(r, b); err != nil || string(b) != "begin" {
				t.Fatalf("%q, %v", b, err)
			}
			block := bytes.Repeat([]byte("0123456789abcdef"), 4096)
			go func() {
				for range 64 {
					_, _ = w.Write(block)
				}
				_ = w.Close()
			}()
			n, err := io.Copy(io.Discard, r)
			if err != nil || n != 64*int64(len(block)) {
				t.Fatalf("%d bytes, %v", n, err)
			}
			if got := server.Stats().FramesIn; !deflate && got < 200 {
				t.Errorf("4 MiB came in %d frames", got)
			}
		})
	}
}

func TestAWriterHoldsBackOtherMessagesButNotPings(t *testing.T) {
	t.Parallel()
	client, server := both(t, &websocket.Server{}, &websocket.Dialer{})
	w, err := client.Writer(t.Context(), websocket.Text, websocket.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteFrame([]byte("a")); err != nil {
		t.Fatal(err)
	}
	second := make(chan error, 1)
	go func() { second <- client.Write(websocket.Text, []byte("second")) }()
	if err := client.SendPing([]byte("p")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); !errors.Is(err, w.Flush()) {
		t.Errorf("second Close: %v", err)
	}
	for _, want := range []string{"a", "second"} {
		if _, b, err := server.Read(); err != nil || string(b) != want {
			t.Fatalf("%q, %v", b, err)
		}
	}
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	if n := server.Stats().PingsIn; n != 1 {
		t.Errorf("%d pings arrived", n)
	}
}

func TestPlainMessagesAreNotCompressed(t *testing.T) {
	t.Parallel()
	cfg := websocket.Config{Deflate: true, DeflateFrom: 1}
	client, server := both(t, &websocket.Server{Config: cfg}, &websocket.Dialer{Config: cfg})
	long := bytes.Repeat([]byte("a"), 10_000)
	for _, tt := range []struct {
		o        websocket.WriteOptions
		min, max uint64
	}{{websocket.WriteOptions{}, 1, 500}, {websocket.WriteOptions{Plain: true}, 10_000, 10_100}} {
		before := server.Stats().BytesIn
		if err := client.WriteWith(websocket.Binary, long, tt.o); err != nil {
			t.Fatal(err)
		}
		if _, b, err := server.Read(); err != nil || !bytes.Equal(b, long) {
			t.Fatal(len(b), err)
		}
		if n := server.Stats().BytesIn - before; n < tt.min || n > tt.max {
			t.Errorf("%+v: %d bytes on the wire", tt.o, n)
		}
	}
}

func TestMessagesAreFragmentedAutomatically(t *testing.T) {
	t.Parallel()
	cfg := websocket.Config{Fragment: 10}
	client, server := both(t, &websocket.Server{Config: cfg}, &websocket.Dialer{})
	if err := server.Write(websocket.Text, []byte("0123456789012345678901234")); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(frames(t, client), "|"); got != "1false 0123456789|0false 0123456789|0true 01234" {
		t.Error(got)
	}
	if err := server.Write(websocket.Text, []byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(frames(t, client), "|"); got != "1true 0123456789" {
		t.Error(got)
	}
}

func TestOnlyTextAndBinaryAreMessages(t *testing.T) {
	t.Parallel()
	client, _ := both(t, &websocket.Server{}, &websocket.Dialer{})
	if err := client.Write(websocket.Ping, nil); !errors.Is(err, websocket.ErrOpcode) {
		t.Error(err)
	}
	if _, err := client.Writer(t.Context(), 3, websocket.WriteOptions{}); !errors.Is(err, websocket.ErrOpcode) {
		t.Error(err)
	}
	if err := client.SendPing(make([]byte, 126)); !errors.Is(err, websocket.ErrControl) {
		t.Error(err)
	}
	if err := client.Close(1005+1, ""); !errors.Is(err, websocket.ErrCloseCode) {
		t.Error(err)
	}
}
