package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"gantry/wamp/interop"
	"gantry/wamp/websocket"
)

// forwarding runs gantry forward in this process until the test ends and returns
// where it listens and what it prints.
func forwarding(t *testing.T, args ...string) (at string, errs *output) {
	t.Helper()
	errs = newOutput()
	runForward(t, newApp(strings.NewReader(""), io.Discard, errs, os.Getenv), args...)
	errs.await(t, "forwarding ")
	m := regexp.MustCompile(`forwarding (\S+) to`).FindStringSubmatch(errs.String())
	return m[1], errs
}

// runForward runs the command until the test ends.
func runForward(t *testing.T, a *app, args ...string) (ended <-chan int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	code := make(chan int, 1)
	go func() {
		code <- a.main(ctx, append([]string{"forward"}, args...))
		close(code)
	}()
	t.Cleanup(func() {
		cancel()
		if c := <-code; c != exitOK {
			t.Errorf("forward %v: exit code %d", args, c)
		}
	})
	return code
}

// certificate writes a certificate for example.com and localhost, of a server and of a
// client, and its key, and returns their files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"example.com", "localhost"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	public, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: public}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// authority returns what trusts the certificate of a file.
func authority(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return pool
}

// stream is an end of a connection that has two directions.
type stream interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// echoing answers each stream with what it gets and ends as it does.
func echoing(s stream) {
	_, _ = io.Copy(struct{ io.Writer }{s}, struct{ io.Reader }{s})
	_ = s.CloseWrite()
	_ = s.Close()
}

// terminal opens a pseudo terminal that passes bytes on as they are.
func terminal(t *testing.T) (far *os.File, path string) {
	t.Helper()
	far, near, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	path = near.Name()
	raw, err := unix.IoctlGetTermios(int(near.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	raw.Lflag &^= unix.ECHO | unix.ICANON | unix.ISIG
	raw.Iflag &^= unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	if err := unix.IoctlSetTermios(int(near.Fd()), unix.TCSETS, raw); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = near.Close() // ends reading at the far end
		_ = far.Close()
	})
	return far, path
}

// target starts an echo server of a kind and returns its endpoint.
func target(t *testing.T, kind, cert, key string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "echo")
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	encryption := &tls.Config{Certificates: []tls.Certificate{pair}}
	switch kind {
	case "serial":
		far, path := terminal(t)
		running.Go(func() { _, _ = io.Copy(struct{ io.Writer }{far}, struct{ io.Reader }{far}) })
		return "serial:" + path
	case "ws", "wss", "ws+unix":
		url := kind + "://127.0.0.1:0"
		if kind == "ws+unix" {
			url = "ws+unix://" + file
		}
		ln, err := websocket.Listen(ctx, url, encryption)
		if err != nil {
			t.Fatal(err)
		}
		s := &websocket.Server{Handle: func(c *websocket.Conn, _ *http.Request) { echoing(c.Stream(websocket.StreamBinary)) }}
		running.Go(func() { _ = websocket.Serve(ctx, ln, s) })
		return strings.Replace(url, "127.0.0.1:0", ln.Addr().String(), 1)
	}
	network, addr := "tcp", "127.0.0.1:0"
	if kind == "unix" {
		network, addr = "unix", file
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	if kind == "tls" {
		ln = tls.NewListener(ln, encryption)
	}
	context.AfterFunc(ctx, func() { _ = ln.Close() })
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { echoing(c.(stream)) })
		}
	})
	return kind + ":" + ln.Addr().String()
}

// visit connects to where gantry forward listens.
func visit(t *testing.T, at string, trust *tls.Config) stream {
	t.Helper()
	kind, addr, _ := strings.Cut(at, ":")
	var c any
	var err error
	switch kind {
	case "tls":
		c, err = tls.Dial("tcp", addr, trust)
	case "tcp", "unix":
		c, err = net.Dial(kind, addr)
	default:
		var ws *websocket.Conn
		ws, err = (&websocket.Dialer{TLS: trust}).Dial(t.Context(), at)
		if err == nil {
			c = ws.Stream(websocket.StreamBinary)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.(stream).Close() })
	return c.(stream)
}

func TestForwardFromAnyToAny(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	pool := authority(t, cert)
	trust := &tls.Config{RootCAs: pool, ServerName: "example.com"}
	data := make([]byte, 200_000)
	_, _ = rand.Read(data)
	for _, to := range []string{"tcp", "unix", "tls", "ws", "wss", "ws+unix", "serial"} {
		for _, from := range []string{"tcp:0", "unix:", "tls:0", "ws://0/x", "wss://:0/x", "ws+unix://"} {
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				listen := from
				if strings.Contains(from, "unix") {
					listen += filepath.Join(t.TempDir(), "in")
				}
				args := []string{listen, target(t, to, cert, key), "--ca", cert, "--server-name", "example.com"}
				if strings.HasPrefix(from, "tls") || strings.HasPrefix(from, "wss") {
					args = append(args, "--cert", cert, "--key", key)
				}
				at, _ := forwarding(t, args...)
				c := visit(t, at, trust)
				sent := data
				if to == "serial" {
					sent = data[:3000]
				}
				go func() {
					_, _ = c.Write(sent)
					if to != "serial" {
						_ = c.CloseWrite()
					}
				}()
				got := make([]byte, len(sent))
				if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
					t.Fatal("the bytes that come back are others", err)
				}
				if to == "serial" {
					return // has no end
				}
				if n, err := c.Read(got); n != 0 || err != io.EOF {
					t.Errorf("after the end: %d bytes, %v", n, err)
				}
			})
		}
	}
}

func TestForwardFromASerialPort(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	far, path := terminal(t)
	forwarding(t, "serial:"+path+",baud=115200,mode=8N1", target(t, "ws", cert, key))
	for range 3 {
		if _, err := io.WriteString(far, "hello"); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(far, got); err != nil || string(got) != "hello" {
			t.Fatalf("%q, %v", got, err)
		}
	}
}

func TestForwardStandardInputAndOutput(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	in, keys := io.Pipe()
	out, errs := newOutput(), newOutput()
	ended := runForward(t, newApp(in, out, errs, os.Getenv), "stdio:", target(t, "tcp", cert, key))
	_, _ = io.WriteString(keys, "hello\n")
	out.await(t, "hello\n")
	_ = keys.Close() // the end is echoed as well
	if code := <-ended; code != exitOK {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

func TestForwardRefusesWhatItCannotDo(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"tcp:1":                                "accepts 2 arg(s)",
		"tcp:1 8080":                           `TARGET "8080": expected tcp:[HOST:]PORT, tls:`,
		"udp:1 tcp:1":                          `LISTEN "udp:1": expected tcp:[HOST:]PORT`,
		"tcp:99999 tcp:1":                      `port "99999", expected [HOST:]PORT with a port of 0 to 65535`,
		"tcp:host:ssh tcp:1":                   `port "ssh"`,
		"unix: tcp:1":                          "expected unix:FILE",
		"ws://h/#x tcp:1":                      "LISTEN websocket ws://h/: a fragment",
		"ws+unix:// tcp:1":                     "no name of a socket",
		"tcp:1 serial:":                        "expected serial:FILE or serial:usb=VVVV:PPPP",
		"tcp:1 serial:/dev/x,baud=fast":        `"baud=fast": expected serial:FILE`,
		"tcp:1 serial:/dev/x,speed=1":          `"speed=1": expected serial:FILE`,
		"tcp:1 serial:/dev/x,mode=9X1":         `"8N1", "8E1"`,
		"tcp:1 serial:/dev/x,dtr=yes":          `"dtr=yes"`,
		"stdio: stdio:":                        "both be stdio",
		"stdio:x tcp:1":                        "expected stdio: and nothing behind",
		"tls:1 tcp:1":                          "expected --cert FILE and --key FILE",
		"tcp:1 tcp:1 --cert x":                 "LISTEN tcp:1 has no TLS",
		"tcp:1 tcp:1 --max-connections 0":      "expected 1 to 65536",
		"tcp:1 tcp:1 --linger 0s":              "must be above 0",
		"tcp:1 tcp:1 --header x":               "expected 'Name: value'",
		"tcp:1 tcp:1 --web x":                  "--web needs a WebSocket",
		"tcp:1 ws://1/ --proxy socks5://x":     "--proxy: expected http[s]://",
		"tls:1 tcp:1 --cert /none --key /none": "",
		"tcp:1 tls:1 --ca /none":               "",
		"stdio: tcp:1":                         "",
		"unix:/none/none tcp:1":                "",
		"stdio: ws+unix:///none/none":          "/none/none",
		"stdio: serial:/none/tty":              "/none/tty",
	} {
		errs := newOutput()
		code := newApp(strings.NewReader(""), io.Discard, errs, os.Getenv).main(t.Context(), append([]string{"forward"}, strings.Fields(args)...))
		usage := want != "" && !strings.Contains(want, "/none")
		if usage && code != exitUsage || !usage && code != exitFailed || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: exit code %d, %s", args, code, errs)
		}
	}
}

func TestForwardBoundsConnections(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	to := target(t, "tcp", cert, key)
	at, errs := forwarding(t, "tcp:0", to, "--max-connections", "1")
	first := visit(t, at, nil)
	if _, err := io.WriteString(first, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	second := visit(t, at, nil)
	if n, err := second.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("a connection too many is served: %v", err)
	}
	errs.await(t, "too many")

	url, _ := forwarding(t, "ws://0/", to, "--max-connections", "1")
	visit(t, url, nil)
	if _, err := (&websocket.Dialer{}).Dial(t.Context(), url); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("a WebSocket too many: %v", err)
	}
}

func TestForwardEndsWhatIsIdle(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	at, _ := forwarding(t, "tcp:0", target(t, "tcp", cert, key), "--idle", "50ms")
	if n, err := visit(t, at, nil).Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("%d, %v", n, err)
	}
	far, path := terminal(t)
	defer far.Close()
	at, _ = forwarding(t, "tcp:0", "serial:"+path, "--linger", "50ms")
	c := visit(t, at, nil)
	_ = c.CloseWrite()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("half closed: %d, %v", n, err)
	}
}

func TestForwardTellsThatItsTargetIsAway(t *testing.T) {
	t.Parallel()
	at, errs := forwarding(t, "tcp:0", "unix:/none/none")
	if n, err := visit(t, at, nil).Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error(n, err)
	}
	errs.await(t, "target=unix:/none/none")
	errs.await(t, "no such file")
}

func TestForwardSpeaksAsWebsockifyDoes(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	url, _ := forwarding(t, "ws://0/websockify", target(t, "tcp", cert, key))
	for _, tt := range []struct {
		offer  []string
		op     websocket.Opcode
		sent   string
		status int
	}{
		{[]string{"binary", "base64"}, websocket.Binary, "hello", 0},
		{[]string{"base64"}, websocket.Text, "aGVsbG8=", 0},
		{nil, websocket.Binary, "hello", 0},
		{[]string{"mqttv3.1"}, 0, "", http.StatusBadRequest},
	} {
		c, err := (&websocket.Dialer{Subprotocols: tt.offer}).Dial(t.Context(), url)
		if tt.status != 0 {
			if err == nil || !strings.Contains(err.Error(), "binary, base64") {
				t.Errorf("%v: %v", tt.offer, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Write(tt.op, []byte(tt.sent)); err != nil {
			t.Fatal(err)
		}
		op, b, err := c.Read()
		if err != nil || op != tt.op || string(b) != tt.sent {
			t.Errorf("%v: %d %q, %v", tt.offer, op, b, err)
		}
		_ = c.Close(websocket.CloseNormal, "")
	}
	// The same at the other end, and a name of one's own.
	named, _ := forwarding(t, "ws://0/mqtt", url+"?x", "--subprotocol", "base64", "--subprotocol", "mqttv3.1")
	c, err := (&websocket.Dialer{Subprotocols: []string{"mqttv3.1"}}).Dial(t.Context(), named)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(websocket.CloseNormal, "")
	if err := c.Write(websocket.Binary, []byte{0, 255}); err != nil {
		t.Fatal(err)
	}
	if _, b, err := c.Read(); err != nil || string(b) != "\x00\xff" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestForwardServesAPageAndMindsOrigins(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "page.html"), []byte("<p>hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/port/{x}"} {
		url, _ := forwarding(t, "ws://0"+path, target(t, "tcp", cert, key), "--web", dir, "--origin", "https://friend.example.org")
		host := strings.Split(url, "/")[2]
		resp, err := http.Get("http://" + host + "/page.html")
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(b) != "<p>hello" {
			t.Errorf("%s: page %q", path, b)
		}
		for origin, good := range map[string]bool{"http://" + host: true, "https://friend.example.org": true, "https://evil.example.org": false} {
			c, err := (&websocket.Dialer{Header: http.Header{"Origin": {origin}}}).Dial(t.Context(), url)
			if good != (err == nil) {
				t.Errorf("%s from %s: %v", path, origin, err)
			}
			if err == nil {
				_ = c.Close(websocket.CloseNormal, "")
			}
		}
		if _, err := (&websocket.Dialer{Header: http.Header{"Host": {"evil.example.org"}}}).Dial(t.Context(), url); err == nil {
			t.Error("a rebound name is served")
		}
	}
}

func TestForwardWithSocatAtBothEnds(t *testing.T) {
	t.Parallel()
	socat, err := exec.LookPath("socat")
	if err != nil {
		interop.Missing(t, "package missing: socat")
	}
	dir := t.TempDir()
	port := filepath.Join(dir, "port")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	// A board: a serial port at which every line is answered in capitals.
	board := exec.CommandContext(ctx, socat, "PTY,rawer,link="+port, `SYSTEM:while read -r l; do echo "$l" | tr a-z A-Z; done`)
	if err := board.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = board.Process.Kill()
		_ = board.Wait()
	}()
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(port); err == nil {
			break
		}
		if time.Since(begin) > patience {
			t.Fatal("socat opens no terminal")
		}
	}
	url, _ := forwarding(t, "ws://0/port", "serial:"+port)
	sock := filepath.Join(dir, "sock")
	forwarding(t, "unix:"+sock, url)
	visitor := exec.CommandContext(ctx, socat, "-t10", "-", "UNIX-CONNECT:"+sock)
	keys, err := visitor.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := newOutput()
	visitor.Stdout = out
	if err := visitor.Start(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		fmt.Fprintf(keys, "line %d\n", i)
		out.await(t, fmt.Sprintf("LINE %d\n", i))
	}
	_ = keys.Close()
	_ = visitor.Process.Kill()
	_ = visitor.Wait()
}

func TestForwardDialsThroughAProxyWithHeaders(t *testing.T) {
	t.Parallel()
	var asked, token string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Method + " " + r.Header.Get("Proxy-Authorization")
		to, err := net.Dial("tcp", r.Host)
		if err != nil {
			http.Error(w, "no way", http.StatusBadGateway)
			return
		}
		from, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = io.Copy(to, from)
			_ = to.Close()
		}()
		_, _ = io.Copy(from, to)
		_ = from.Close()
		<-ended
	}))
	defer proxy.Close()
	ws := httptest.NewServer(&websocket.Server{
		Connect: func(h *websocket.Handshake) error { token = h.Request.Header.Get("X-Token"); return nil },
		Handle:  func(c *websocket.Conn, _ *http.Request) { echoing(c.Stream(websocket.StreamText)) },
	})
	defer ws.Close()
	in, keys := io.Pipe()
	out, errs := newOutput(), newOutput()
	ended := runForward(t, newApp(in, out, errs, os.Getenv), "stdio:", strings.Replace(ws.URL, "http", "ws", 1), "--trace", "--text",
		"--header", "X-Token: abc", "--proxy", strings.Replace(proxy.URL, "http://", "http://ann:secret@", 1))
	_, _ = io.WriteString(keys, "hello\n")
	out.await(t, "hello\n")
	_ = keys.Close()
	<-ended
	errs.await(t, "> text, 6 bytes, masked\n")
	if asked != "CONNECT Basic YW5uOnNlY3JldA==" || token != "abc" {
		t.Errorf("proxy asked for %q, token %q", asked, token)
	}
}

func TestForwardAsksForACertificate(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := authority(t, cert)
	at, _ := forwarding(t, "tls:0", target(t, "tcp", cert, key), "--cert", cert, "--key", key, "--client-ca", cert)
	trust := &tls.Config{RootCAs: pool, ServerName: "example.com", MaxVersion: tls.VersionTLS12}
	if _, err := tls.Dial("tcp", strings.TrimPrefix(at, "tls:"), trust); err == nil {
		t.Error("a client without a certificate gets in")
	}
	trust.Certificates = []tls.Certificate{pair}
	c := visit(t, at, trust)
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Error(err)
	}
}
