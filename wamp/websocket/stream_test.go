package websocket_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"gantry/wamp/websocket"
)

// streams connects two streams.
func streams(t *testing.T, enc websocket.StreamEncoding) (client, server *websocket.Stream) {
	t.Helper()
	c, s := both(t, &websocket.Server{}, &websocket.Dialer{})
	client, server = c.Stream(enc), s.Stream(enc)
	t.Cleanup(func() {
		_ = client.CloseWrite()
		_ = server.Close()
		_ = client.Close()
	})
	return client, server
}

func TestStreamsCarryBytesInEveryEncoding(t *testing.T) {
	t.Parallel()
	random := make([]byte, 300_000)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	text := bytes.Repeat([]byte("aä€😀"), 30_000)
	for _, tt := range []struct {
		name string
		enc  websocket.StreamEncoding
		data []byte
	}{{"binary", websocket.StreamBinary, random}, {"text", websocket.StreamText, text}, {"base64", websocket.StreamBase64, random}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client, server := streams(t, tt.enc)
			go func() {
				for rest := tt.data; len(rest) > 0; {
					n := min(1+rand.IntN(70_000), len(rest))
					if _, err := server.Write(rest[:n]); err != nil {
						return
					}
					rest = rest[n:]
				}
				_ = server.CloseWrite()
			}()
			got, err := io.ReadAll(client)
			if err != nil || !bytes.Equal(got, tt.data) {
				t.Fatalf("%d of %d bytes, %v", len(got), len(tt.data), err)
			}
			// The other direction is still open.
			if _, err := client.Write([]byte("answer")); err != nil {
				t.Fatal(err)
			}
			if err := client.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(server); err != nil || string(got) != "answer" {
				t.Fatalf("%q, %v", got, err)
			}
		})
	}
}

func TestStreamsRefuseWhatTheirEncodingHasNot(t *testing.T) {
	t.Parallel()
	client, _ := streams(t, websocket.StreamText)
	if _, err := client.Write([]byte{0xff}); err == nil {
		t.Error("a text stream has sent a byte that is no text")
	}
	for _, wrong := range []string{"====", "YQ", "Y!=="} {
		c, s := both(t, &websocket.Server{}, &websocket.Dialer{})
		stream := s.Stream(websocket.StreamBase64)
		if err := c.Write(websocket.Text, []byte(wrong)); err != nil {
			t.Fatal(err)
		}
		_, err := io.ReadAll(stream)
		var pe *websocket.ProtocolError
		if !errors.As(err, &pe) || pe.Code != websocket.CloseInvalidPayload {
			t.Errorf("%q: %v", wrong, err)
		}
		_ = c.Abandon()
		_ = stream.Close()
	}
}

func TestReadDeadlinesLeaveAStreamAsItWas(t *testing.T) {
	t.Parallel()
	client, server := streams(t, websocket.StreamBinary)
	b := make([]byte, 3)
	for _, d := range []time.Duration{-time.Hour, time.Millisecond} {
		if err := client.SetReadDeadline(time.Now().Add(d)); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("deadline in %v: %v", d, err)
		}
		var ne net.Error
		if _, err := client.Read(b); !errors.As(err, &ne) || !ne.Timeout() {
			t.Fatalf("second read: %v", err)
		}
	}
	// A deadline that is set meanwhile ends a read that waits.
	if err := client.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := client.Read(b)
		ended <- err
	}()
	_ = client.SetReadDeadline(time.Now().Add(time.Hour))
	_ = client.SetReadDeadline(time.Now().Add(-time.Second))
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		// The read may have begun with the new deadline in the same way.
		t.Fatal("a read goes on after its deadline")
	}
	_ = client.SetReadDeadline(time.Time{})
	if _, err := server.Write([]byte("abcdef")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"abc", "def"} { // messages are read in halves
		if _, err := io.ReadFull(client, b); err != nil || string(b) != want {
			t.Fatalf("%q, %v", b, err)
		}
	}
}

func TestWriteDeadlineEndsABlockedWrite(t *testing.T) {
	t.Parallel()
	client, _ := streams(t, websocket.StreamBinary)
	if err := client.SetWriteDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write([]byte("a")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	_ = client.SetWriteDeadline(time.Time{})
	if _, err := client.Write([]byte("a")); err != nil {
		t.Fatalf("after a deadline that did not cut anything: %v", err)
	}
	// The other side does not read: at some time the network is full.
	_ = client.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	for {
		if _, err := client.Write(make([]byte, 1<<20)); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
			return
		}
	}
}

func TestStreamEndsAsTheOtherSideDoes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		end  func(*websocket.Conn)
		want string
	}{
		{"normal", func(c *websocket.Conn) { _ = c.Close(websocket.CloseNormal, "") }, "<nil>"},
		{"with a code", func(c *websocket.Conn) { _ = c.Close(4000, "x") }, "websocket: closed with code 4000: x"},
		{"lost", func(c *websocket.Conn) { _ = c.Abandon() }, "unexpected EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, s := both(t, &websocket.Server{}, &websocket.Dialer{Config: websocket.Config{Linger: time.Millisecond}})
			stream := s.Stream(websocket.StreamBinary)
			if err := c.Write(websocket.Text, []byte("last words")); err != nil {
				t.Fatal(err)
			}
			tt.end(c)
			b, err := io.ReadAll(stream)
			if string(b) != "last words" || fmt.Sprint(err) != tt.want {
				t.Errorf("%q, %v", b, err)
			}
			_ = stream.Close()
			if _, err := stream.Read(make([]byte, 1)); err == nil {
				t.Error("a closed stream reads")
			}
			if _, err := stream.Write(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("a closed stream writes: %v", err)
			}
		})
	}
}
