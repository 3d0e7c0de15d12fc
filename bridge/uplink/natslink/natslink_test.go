package natslink

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"gantry/bridge/uplink"
	"gantry/wamp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestWhatIsNoServer has listeners that say something else than a server does, and an
// attempt that goes on to its end.
func TestWhatIsNoServer(t *testing.T) {
	t.Parallel()
	for greeting, want := range map[string]error{"HTTP/1.1 400 Bad Request\r\n": errNoServer, "INFO {\r\n": errNoServer, "INFO {}\r\n": errNoTLS} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go func() {
			if nc, err := ln.Accept(); err == nil {
				_, _ = io.WriteString(nc, greeting)
				_, _ = io.Copy(io.Discard, nc)
				_ = nc.Close()
			}
		}()
		url := "nats://" + ln.Addr().String()
		if want == errNoTLS {
			url = "tls://" + ln.Addr().String()
		}
		sink, err := New(Config{URL: url, Gateway: "g1", Stream: "g1/queue", Commands: uplink.NewCommands("g1", nil, nil)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if _, err := sink.Connect(ctx); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", greeting, err, want)
		}
		over := make(chan struct{}) // closed behind what else the end of the attempt calls
		context.AfterFunc(ctx, func() { close(over) })
		cancel()
		<-over
	}
}

// bytesConn is a connection from which bytes come.
type bytesConn struct {
	net.Conn
	r io.Reader
}

func (c bytesConn) Read(p []byte) (int, error) { return c.r.Read(p) }
func (c bytesConn) Close() error               { return nil }

// through returns what the guard lets through of bytes that come in small pieces.
func through(in []byte) ([]byte, error) {
	return io.ReadAll(newGuard(bytesConn{r: iotest.HalfReader(bytes.NewReader(in))}, 100))
}

func TestGuard(t *testing.T) {
	t.Parallel()
	for in, good := range map[string]bool{
		"":                              true,
		"PING\r\nPONG\r\n+OK\r\n":       true,
		"INFO {}\r\n-ERR 'x y'\r\n":     true,
		"MSG a.b 1 5\r\nhello\r\n":      true,
		"MSG a.b 1 r 0\r\n\r\nPING\r\n": true,
		"HMSG a 1 12 14\r\nNATS/1.0\r\n\r\nxy\r\n":                true,
		"MSG a 1 " + strings.Repeat("r", 600) + " 5\r\nhello\r\n": true,
		"MSG a 1 5\r\nMSG a 1 999999999999\r\n":                   false, // longer than announced
		"MSG a 1 101\r\n":                                         false,
		"MSG a 1 99999999999999999999\r\n":                        false,
		"MSG a 1 -1\r\n":                                          false,
		"MSG a 1 +1\r\n":                                          false,
		"MSG a 1\t5\r\n":                                          false,
		"MSG a 1  5\r\nhello\r\n":                                 true,
		"MSG a 1 5\r6\n":                                          false,
		"MSG a 1 5\n":                                             false,
		"MSG a 1\r\n":                                             false,
		"MSG a 1 2 3 4\r\n":                                       false,
		"HMSG a 1 13 12\r\n":                                      false,
		"msg a 1 5\r\nhello\r\n":                                  false,
		"PING \r\n":                                               false,
		"\n":                                                      false,
		"PUB a 0\r\n\r\n":                                         false,
		"INFO " + strings.Repeat("x", maxLine) + "\r\n":           false,
	} {
		out, err := through([]byte(in))
		if good != (err == nil) || good && string(out) != in {
			t.Errorf("%.60q: %.60q %v", in, out, err)
		}
		if !good && !errors.Is(err, errLine) {
			t.Errorf("%.60q: %v", in, err)
		}
	}
}

// FuzzGuard: what comes through is what came, and no message in it is larger than
// allowed, as nats.go reads it.
func FuzzGuard(f *testing.F) {
	f.Add([]byte("INFO {}\r\nMSG a.b 1 5\r\nhello\r\nHMSG a 1 r 12 14\r\nNATS/1.0\r\n\r\nxy\r\n"))
	f.Add([]byte("MSG a 1 5\r6\nMSG a 1 101\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		out, _ := through(in)
		if !bytes.HasPrefix(in, out) {
			t.Fatalf("%q came of %q", out, in)
		}
		for len(out) > 0 {
			line, rest, ok := bytes.Cut(out, []byte("\n"))
			if !ok {
				t.Fatalf("half a line: %q", out)
			}
			out = rest
			if op, _, _ := bytes.Cut(line, []byte(" ")); string(op) != "MSG" && string(op) != "HMSG" {
				continue
			}
			// nats.go splits at white space and takes the last for the size.
			fields := bytes.Fields(line)
			size, err := number(fields[len(fields)-1])
			if err != nil || size > 100 {
				t.Fatalf("%q", line)
			}
			if uint64(len(out)) < size+2 {
				return // cut short
			}
			out = out[size+2:]
		}
	})
}

// FuzzSubject: every URI has a subject of its own, without what a subject cannot hold.
func FuzzSubject(f *testing.F) {
	for _, s := range []string{"gantry.g1.point.a.b", "a.*.>", "a%2A", "a b", "%", "%2", "ü.\x7f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		made := subject(wamp.URI(s))
		if strings.ContainsAny(made, "*> \t\r\n\x00") {
			t.Errorf("%q for %q", made, s)
		}
		if back, ok := uri(made); !ok || string(back) != s {
			t.Errorf("%q for %q stands for %q", made, s, back)
		}
		if u, ok := uri(s); ok && !strings.ContainsFunc(s, func(r rune) bool { return r != '%' && r < 0x80 && !literal(byte(r)) }) && subject(u) != s {
			t.Errorf("%q is read as %q", s, u)
		}
	})
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		`{"stream":"S","seq":7}`: "", `{"stream":"S","seq":7,"duplicate":true}`: "",
		`{"error":{"code":400,"err_code":10054,"description":"too large"}}`: "refused: too large (10054)",
		`{"error":{"code":503,"err_code":10077,"description":"full"}}`:      "the stream does not take a.b now: full (10077)",
		`{"error":{"code":400,"err_code":10060,"description":"other"}}`:     "another stream than nats.stream keeps a.b: other (10060)",
		`{}`: "what answers on a.b is no stream", `x`: "what answers on a.b is no stream",
	} {
		err := verdict(&nats.Msg{Data: []byte(data)}, "a.b")
		got := ""
		if err != nil {
			got = err.Error()
		}
		var refusal *uplink.Refusal
		if errors.As(err, &refusal) {
			got = "refused: " + got
		}
		if got != want {
			t.Errorf("%s: %q, want %q", data, got, want)
		}
	}
	err := verdict(&nats.Msg{Header: nats.Header{"Status": {"503"}}}, "a.b")
	if err == nil || !strings.HasPrefix(err.Error(), "no stream keeps a.b") {
		t.Error(err)
	}
}

// FuzzVerdict: an event counts as stored only where a stream says so.
func FuzzVerdict(f *testing.F) {
	f.Add([]byte(`{"stream":"S","seq":7}`))
	f.Add([]byte(`{"error":{"code":503}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if verdict(&nats.Msg{Data: data}, "a") == nil && !bytes.ContainsAny(data, "sS") {
			t.Errorf("%q", data)
		}
	})
}
