package websocket_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gantry/wamp/websocket"
)

// running serves h on a free port of this machine and returns its URL and what
// stops it.
func running(h http.Handler) (url string, stop func()) {
	ln, err := websocket.Listen(context.Background(), "ws://127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- websocket.Serve(ctx, ln, h) }()
	return "ws://" + ln.Addr().String(), func() {
		cancel()
		if err := <-ended; err != nil {
			log.Fatal(err)
		}
	}
}

// echoServer answers every message with itself.
func echoServer() *websocket.Server {
	return &websocket.Server{
		Handle: func(c *websocket.Conn, r *http.Request) {
			for {
				op, b, err := c.Read()
				if err != nil {
					return
				}
				if err := c.Write(op, b); err != nil {
					return
				}
			}
		},
	}
}

// A server that echoes, and a client.
func Example() {
	url, stop := running(echoServer())
	defer stop()

	ctx := context.Background()
	c, err := (&websocket.Dialer{}).Dial(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(websocket.CloseNormal, "")
	if err := c.Write(websocket.Text, []byte("hello")); err != nil {
		log.Fatal(err)
	}
	_, b, err := c.Read()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", b)
	// Output: hello
}

// A server that looks at who connects before it agrees.
func ExampleServer() {
	s := &websocket.Server{
		Config:       websocket.Config{MaxMessage: 64 << 10, Idle: 10 * time.Minute},
		Subprotocols: []string{"chat.2", "chat.1"},
		Origins:      []string{"https://chat.example.org"},
		MaxConns:     1000,
		Header:       http.Header{"Server": {"chat/2.3"}},
		Connect: func(h *websocket.Handshake) error {
			session, err := h.Request.Cookie("session")
			if err != nil {
				return &websocket.Refusal{Status: http.StatusUnauthorized, Text: "log in first"}
			}
			h.Header.Add("Set-Cookie", "session="+session.Value+"; Max-Age=3600; HttpOnly")
			return nil
		},
		Handle: func(c *websocket.Conn, r *http.Request) {
			_ = c.Write(websocket.Text, []byte("you speak "+c.Subprotocol()))
		},
	}
	url, stop := running(s)
	defer stop()

	_, err := (&websocket.Dialer{Subprotocols: []string{"chat.1"}}).Dial(context.Background(), url)
	var refused *websocket.HandshakeError
	fmt.Println(errors.As(err, &refused), refused.Status)

	d := &websocket.Dialer{Subprotocols: []string{"chat.1"}, Header: http.Header{"Cookie": {"session=s1"}}}
	c, err := d.Dial(context.Background(), url)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(websocket.CloseNormal, "")
	_, b, err := c.Read()
	fmt.Printf("%s %v\n", b, err)
	// Output:
	// true 401
	// you speak chat.1 <nil>
}

// The life cycle of a connection as functions.
func ExampleConn_Run() {
	done := make(chan struct{})
	s := &websocket.Server{Handle: func(c *websocket.Conn, r *http.Request) {
		err := c.Run(r.Context(), websocket.Handler{
			Open: func(c *websocket.Conn) error {
				fmt.Println("open")
				return nil
			},
			Message: func(c *websocket.Conn, op websocket.Opcode, b []byte) error {
				fmt.Printf("message %s\n", b)
				if string(b) == "nonsense" {
					return &websocket.CloseError{Code: 4000, Reason: "I do not understand"}
				}
				return nil
			},
			Ping: func(c *websocket.Conn, payload []byte) {
				fmt.Printf("ping %s\n", payload)
			},
			Close: func(c *websocket.Conn, end websocket.End) {
				fmt.Println("close", end.Code, end.Clean)
			},
		})
		fmt.Println(err)
		close(done)
	}}
	url, stop := running(s)
	defer stop()

	c, err := (&websocket.Dialer{}).Dial(context.Background(), url)
	if err != nil {
		log.Fatal(err)
	}
	_ = c.SendPing([]byte("tick"))
	_ = c.Write(websocket.Text, []byte("nonsense"))
	_, _, err = c.Read()
	_ = c.Close(websocket.CloseNormal, "")
	<-done
	fmt.Println(err)
	// Output:
	// open
	// ping tick
	// message nonsense
	// close 4000 true
	// websocket: closed with code 4000: I do not understand
	// websocket: closed with code 4000: I do not understand
}

// Two services beside a page, on one port.
func ExampleServe() {
	time1 := &websocket.Server{Handle: func(c *websocket.Conn, r *http.Request) {
		_ = c.Write(websocket.Text, []byte("12:00"))
	}}
	files := http.FileServer(http.Dir(os.TempDir()))

	mux := http.NewServeMux()
	mux.Handle("/echo", echoServer())
	mux.Handle("/time", time1)
	mux.Handle("/files/", http.StripPrefix("/files", files))
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "welcome")
	})

	ctx, cancel := context.WithCancel(context.Background())
	ln, err := websocket.Listen(ctx, "ws://127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- websocket.Serve(ctx, ln, mux) }()

	c, err := (&websocket.Dialer{}).Dial(ctx, "ws://"+ln.Addr().String()+"/time")
	if err != nil {
		log.Fatal(err)
	}
	_, b, err := c.Read()
	fmt.Printf("%s %v\n", b, err)
	_ = c.Close(websocket.CloseNormal, "")

	cancel() // connections are closed with code 1001
	fmt.Println(<-ended)
	// Output:
	// 12:00 <nil>
	// <nil>
}

// A client with headers, a limit and a deadline, which tells apart what can go
// wrong.
func ExampleDialer() {
	url, stop := running(echoServer())
	defer stop()
	d := &websocket.Dialer{
		Config:       websocket.Config{MaxMessage: 1 << 20},
		Subprotocols: []string{"chat.2"},
		Header:       http.Header{"Authorization": {"Bearer abc"}, "User-Agent": {"thing/1"}},
		Timeout:      5 * time.Second,
	}
	_, err := d.Dial(context.Background(), url)
	var (
		wrongURL *websocket.URLError
		proxy    *websocket.ProxyError
		refused  *websocket.HandshakeError
	)
	switch {
	case errors.As(err, &wrongURL):
		fmt.Println(wrongURL.Text)
	case errors.As(err, &proxy):
		fmt.Println("proxy answers", proxy.Status)
	case errors.As(err, &refused):
		fmt.Println("got", refused.Got, "but want", refused.Want)
	case err != nil:
		fmt.Println("not reached:", err)
	}
	// Output: got no subprotocol but want chat.2
}

// A client that heeds HTTP_PROXY, HTTPS_PROXY and NO_PROXY. For one proxy whatever
// the environment says, use http.ProxyURL; its URL may have user and password.
func ExampleDialer_proxy() {
	url, stop := running(echoServer())
	defer stop()
	d := &websocket.Dialer{Proxy: http.ProxyFromEnvironment}
	c, err := d.Dial(context.Background(), url) // this machine needs no proxy
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Close(websocket.CloseNormal, ""))
	// Output: <nil>
}

// TLS on both sides.
func ExampleListen() {
	certificate, roots := exampleCertificate()

	ctx, cancel := context.WithCancel(context.Background())
	ln, err := websocket.Listen(ctx, "wss://127.0.0.1:0", &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{certificate},
	})
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- websocket.Serve(ctx, ln, echoServer()) }()

	d := &websocket.Dialer{TLS: &tls.Config{RootCAs: roots.RootCAs, ServerName: "example.com"}}
	c, err := d.Dial(ctx, "wss://"+ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.TLS().Version >= tls.VersionTLS12)
	_ = c.Close(websocket.CloseNormal, "")
	cancel()
	fmt.Println(<-ended)
	// Output:
	// true
	// <nil>
}

// exampleCertificate returns a certificate for example.com and what trusts it.
func exampleCertificate() (tls.Certificate, *tls.Config) {
	hs := httptest.NewUnstartedServer(nil)
	hs.StartTLS()
	defer hs.Close()
	return hs.TLS.Certificates[0], hs.Client().Transport.(*http.Transport).TLSClientConfig
}

// A Unix socket.
func ExampleURL() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	url := "ws+unix://" + filepath.Join(dir, "echo.sock") + ":/echo"

	ctx, cancel := context.WithCancel(context.Background())
	ln, err := websocket.Listen(ctx, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- websocket.Serve(ctx, ln, echoServer()) }()

	c, err := (&websocket.Dialer{}).Dial(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.RemoteAddr().Network())
	_ = c.Close(websocket.CloseNormal, "")
	cancel()
	<-ended
	// Output: unix
}

// A message that is sent while it is being made, and summed up while it arrives.
func ExampleConn_Writer() {
	const mebibytes = 64
	total := make(chan int64, 1)
	s := &websocket.Server{
		Config: websocket.Config{MaxMessage: 1 << 30},
		Handle: func(c *websocket.Conn, r *http.Request) {
			_, message, err := c.Reader()
			if err != nil {
				return
			}
			n, err := io.Copy(io.Discard, message)
			if err == nil {
				total <- n
			}
		},
	}
	url, stop := running(s)
	defer stop()

	ctx := context.Background()
	c, err := (&websocket.Dialer{}).Dial(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(websocket.CloseNormal, "")
	w, err := c.Writer(ctx, websocket.Binary, websocket.WriteOptions{})
	if err != nil {
		log.Fatal(err)
	}
	piece := make([]byte, 1<<20)
	for range mebibytes {
		if _, err := w.Write(piece); err != nil {
			log.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-total>>20, "MiB")
	// Output: 64 MiB
}

// A message whose frames have a meaning of their own.
func ExampleMessageReader_NextFrame() {
	done := make(chan struct{})
	s := &websocket.Server{Handle: func(c *websocket.Conn, r *http.Request) {
		defer close(done)
		_, message, err := c.Reader()
		if err != nil {
			return
		}
		for {
			frame, err := message.NextFrame()
			if err == io.EOF {
				return
			}
			if err != nil {
				log.Fatal(err)
			}
			payload, err := io.ReadAll(message)
			fmt.Printf("%d bytes, last %v: %s %v\n", frame.Length, frame.Final, payload, err)
		}
	}}
	url, stop := running(s)
	defer stop()

	ctx := context.Background()
	c, err := (&websocket.Dialer{}).Dial(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(websocket.CloseNormal, "")
	w, err := c.Writer(ctx, websocket.Text, websocket.WriteOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for _, part := range []string{"one", "two"} {
		if err := w.WriteFrame([]byte(part)); err != nil {
			log.Fatal(err)
		}
	}
	_, _ = io.WriteString(w, "the rest")
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
	<-done
	// Output:
	// 3 bytes, last false: one <nil>
	// 3 bytes, last false: two <nil>
	// 8 bytes, last true: the rest <nil>
}

// A server that tells everybody what anybody says.
func ExampleBroadcast() {
	everybody := websocket.NewBroadcast(websocket.BroadcastConfig{Queue: 64 << 10, Slow: websocket.DropOldest})
	s := &websocket.Server{Handle: func(c *websocket.Conn, r *http.Request) {
		member := everybody.Join(c)
		defer member.Leave()
		_ = c.Run(r.Context(), websocket.Handler{
			Message: func(_ *websocket.Conn, op websocket.Opcode, b []byte) error {
				news, err := websocket.Prepare(op, b)
				if err != nil {
					return err
				}
				everybody.Send(news)
				return nil
			},
		})
	}}
	url, stop := running(s)
	defer stop()

	var all [3]*websocket.Conn
	for i := range all {
		c, err := (&websocket.Dialer{}).Dial(context.Background(), url)
		if err != nil {
			log.Fatal(err)
		}
		defer c.Close(websocket.CloseNormal, "")
		all[i] = c
	}
	for everybody.Stats().Members < len(all) {
		time.Sleep(time.Millisecond)
	}
	_ = all[0].Write(websocket.Text, []byte("good morning"))
	for _, c := range all {
		_, b, err := c.Read()
		fmt.Printf("%s %v\n", b, err)
	}
	// Output:
	// good morning <nil>
	// good morning <nil>
	// good morning <nil>
}

// A line-based protocol, such as a program has for TCP, over a WebSocket.
func ExampleConn_Stream() {
	s := &websocket.Server{Handle: func(c *websocket.Conn, r *http.Request) {
		stream := c.Stream(websocket.StreamBinary) // a net.Conn
		defer stream.Close()
		lines := bufio.NewScanner(stream)
		for lines.Scan() {
			fmt.Fprintln(stream, strings.ToUpper(lines.Text()))
		}
	}}
	url, stop := running(s)
	defer stop()

	c, err := (&websocket.Dialer{}).Dial(context.Background(), url)
	if err != nil {
		log.Fatal(err)
	}
	stream := c.Stream(websocket.StreamBinary)
	defer stream.Close()
	_ = stream.SetDeadline(time.Now().Add(time.Minute))
	_, _ = io.WriteString(stream, "hello\nworld\n")
	_ = stream.CloseWrite()
	answer, err := io.ReadAll(stream)
	fmt.Printf("%s%v\n", answer, err)
	// Output:
	// HELLO
	// WORLD
	// <nil>
}

// A client that comes back.
func ExampleRedialer() {
	var mu sync.Mutex
	visits := 0
	s := &websocket.Server{Handle: func(c *websocket.Conn, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		visits++
		_ = c.Write(websocket.Text, fmt.Appendf(nil, "visit %d", visits))
	}}
	url, stop := running(s)
	defer stop()

	r := &websocket.Redialer{
		URL:     url,
		MinWait: 10 * time.Millisecond,
		MaxWait: time.Minute,
		State: func(s websocket.RedialState) {
			if s.Phase == websocket.Waiting {
				fmt.Println("waiting to come back")
			}
		},
	}
	err := r.Run(context.Background(), func(ctx context.Context, c *websocket.Conn) error {
		_, b, err := c.Read()
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", b)
		if string(b) == "visit 3" {
			return websocket.ErrStop
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// visit 1
	// waiting to come back
	// visit 2
	// waiting to come back
	// visit 3
	// <nil>
}

// Compression for what is worth it.
func ExampleWriteOptions() {
	s := echoServer()
	s.Deflate, s.DeflateFrom = true, 256
	url, stop := running(s)
	defer stop()

	d := &websocket.Dialer{Config: websocket.Config{Deflate: true, DeflateFrom: 256, DeflateLevel: 6}}
	c, err := d.Dial(context.Background(), url)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(websocket.CloseNormal, "")
	text := []byte(strings.Repeat("all work and no play ", 1000))
	_ = c.Write(websocket.Text, text)
	compressed := c.Stats().BytesOut
	_ = c.WriteWith(websocket.Text, text, websocket.WriteOptions{Plain: true})
	plain := c.Stats().BytesOut - compressed
	fmt.Println(c.Deflated(), len(text), compressed < 500, plain > 20_000)
	// Output: true 21000 true true
}

// A trace of the wire, and the statistics of the connection.
func ExampleTraceTo() {
	url, stop := running(echoServer())
	defer stop()
	d := &websocket.Dialer{Config: websocket.Config{Trace: websocket.TraceTo(os.Stdout, false), PingInterval: -1}}
	c, err := d.Dial(context.Background(), url)
	if err != nil {
		log.Fatal(err)
	}
	_ = c.Write(websocket.Text, []byte("hello"))
	_, _, _ = c.Read()
	_ = c.Close(websocket.CloseNormal, "bye")
	stats := c.Stats()
	fmt.Println(stats.MessagesOut, stats.MessagesIn, stats.BytesOut, stats.BytesIn)
	// Output:
	// > text, 5 bytes, masked
	// < text, 5 bytes
	// > close, 5 bytes, masked
	// < close, 2 bytes
	// 1 1 22 11
}

// How long an answer takes.
func ExampleConn_Ping() {
	url, stop := running(echoServer())
	defer stop()
	c, err := (&websocket.Dialer{}).Dial(context.Background(), url)
	if err != nil {
		log.Fatal(err)
	}
	reading := make(chan struct{})
	go func() { // answers arrive while somebody reads
		defer close(reading)
		_, _, _ = c.Read()
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	trip, err := c.Ping(ctx)
	fmt.Println(trip > 0, err)
	_ = c.Close(websocket.CloseNormal, "")
	<-reading
	// Output: true <nil>
}
