package websocket_test

import (
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"gantry/wamp/websocket"
)

// acceptKey is the Sec-WebSocket-Accept for a key (RFC 6455, 4.2.2).
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func TestConnectSeesTheRequestAndDecides(t *testing.T) {
	t.Parallel()
	s := &websocket.Server{
		Subprotocols: []string{"a", "b"},
		Header:       http.Header{"Server": {"thing/1"}},
		Connect: func(h *websocket.Handshake) error {
			if user, _, ok := h.Request.BasicAuth(); !ok || user != "ann" {
				return &websocket.Refusal{Status: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": {"Basic"}}, Text: "who are you?"}
			}
			if h.Request.RemoteAddr == "" || h.Request.TLS != nil {
				t.Error("no peer")
			}
			if c, err := h.Request.Cookie("mood"); err == nil {
				h.Header.Add("Set-Cookie", "mood="+c.Value+"er")
			}
			switch h.Request.URL.Path {
			case "/own":
				h.Subprotocol = "x"
			case "/none":
				h.Subprotocol = ""
			case "/fail":
				return errors.New("secret")
			}
			return nil
		},
	}
	at := serve(t, s, echo)
	d := func() *websocket.Dialer {
		return &websocket.Dialer{Subprotocols: []string{"x", "b"}, Header: http.Header{"Authorization": {"Basic YW5uOg=="}}}
	}
	c := dial(t, d(), at)
	if c.Subprotocol() != "b" {
		t.Errorf("agreed on %q", c.Subprotocol())
	}
	if c := dial(t, d(), at+"/own"); c.Subprotocol() != "x" {
		t.Errorf("agreed on %q", c.Subprotocol())
	}
	refused := func(d *websocket.Dialer, url string, status int, text string) {
		t.Helper()
		_, err := d.Dial(t.Context(), url)
		var he *websocket.HandshakeError
		if !errors.As(err, &he) || he.Status != status || !strings.Contains(he.Got, text) || strings.Contains(he.Got, "secret") {
			t.Errorf("%v", err)
		}
	}
	refused(&websocket.Dialer{}, at, http.StatusUnauthorized, "who are you?")
	refused(d(), at+"/fail", http.StatusForbidden, "Forbidden")
	refused(d(), at+"/none", http.StatusBadRequest, "a, b")

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(strings.Replace(at, "ws", "http", 1))
	jar.SetCookies(u, []*http.Cookie{{Name: "mood", Value: "glad"}})
	withJar := d()
	withJar.Jar = jar
	withJar.Connect = func(resp *http.Response) error {
		if resp.Header.Get("Server") != "thing/1" || len(resp.Cookies()) != 1 {
			t.Errorf("answer %v", resp.Header)
		}
		return nil
	}
	dial(t, withJar, at)
	if got := jar.Cookies(u); len(got) != 1 || got[0].Value != "glader" {
		t.Errorf("cookies %v", got)
	}
	boom := errors.New("not this server")
	withJar.Connect = func(*http.Response) error { return boom }
	if _, err := withJar.Dial(t.Context(), at); !errors.Is(err, boom) {
		t.Errorf("%v", err)
	}
}

func TestPlainRequestsGetThePage(t *testing.T) {
	t.Parallel()
	s := &websocket.Server{Page: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "status") })}
	s.Handle = func(c *websocket.Conn, _ *http.Request) { echo(c) }
	hs := httptest.NewServer(s)
	defer hs.Close()
	resp, err := http.Get(hs.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "status" {
		t.Errorf("%q", b)
	}
	dial(t, &websocket.Dialer{}, strings.Replace(hs.URL, "http", "ws", 1))
}

func TestOffersOfCompressionCanBeDeclined(t *testing.T) {
	t.Parallel()
	var seen []websocket.DeflateOffer
	s := &websocket.Server{Config: websocket.Config{Deflate: true}, AcceptDeflate: func(o websocket.DeflateOffer) bool {
		seen = append(seen, o)
		return o.ClientMaxWindowBits == 9
	}}
	_, _, got := offer(t, serve(t, s, echo), "permessage-deflate; server_max_window_bits=16, permessage-deflate; client_max_window_bits; server_no_context_takeover, permessage-deflate; client_max_window_bits=9, permessage-deflate")
	if !strings.HasPrefix(got, "permessage-deflate") {
		t.Errorf("agreed on %q", got)
	}
	want := []websocket.DeflateOffer{{ClientMaxWindowBits: 15, ServerNoContextTakeover: true}, {ClientMaxWindowBits: 9}}
	if len(seen) != 2 || seen[0] != want[0] || seen[1] != want[1] {
		t.Errorf("asked for %+v", seen)
	}
	_, _, got = offer(t, serve(t, s, echo), "permessage-deflate")
	if got != "" {
		t.Errorf("agreed on %q", got)
	}
}

func TestTLSAndUnixSocketsBothSides(t *testing.T) {
	t.Parallel()
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	defer cert.Close()
	trust := cert.Client().Transport.(*http.Transport).TLSClientConfig
	file := filepath.Join(t.TempDir(), "s")
	for _, at := range []string{"ws://127.0.0.1:0", "wss://127.0.0.1:0", "ws+unix://" + file, "wss+unix://" + file, "ws+unix://" + file + ":/path?q=1"} {
		t.Run(strings.Split(at, ":")[0], func(t *testing.T) {
			ln, err := websocket.Listen(t.Context(), at, &tls.Config{Certificates: cert.TLS.Certificates})
			if err != nil {
				t.Fatal(err)
			}
			s := &websocket.Server{Handle: func(c *websocket.Conn, r *http.Request) {
				if (r.TLS != nil) != strings.HasPrefix(at, "wss") {
					t.Error("TLS state is wrong")
				}
				echo(c)
			}}
			stop := serveOn(t, ln, s)
			defer stop()
			url := strings.Replace(at, "127.0.0.1:0", ln.Addr().String(), 1)
			d := &websocket.Dialer{TLS: trust.Clone()}
			d.TLS.ServerName = "example.com"
			c := dial(t, d, url)
			if (c.TLS() != nil) != strings.HasPrefix(at, "wss") {
				t.Error("client's TLS state is wrong")
			}
			big := make([]byte, 200_000)
			if err := c.Write(websocket.Binary, big); err != nil {
				t.Fatal(err)
			}
			if _, b, err := c.Read(); err != nil || len(b) != len(big) {
				t.Fatal(len(b), err)
			}
			if err := c.Close(websocket.CloseNormal, ""); err != nil || !c.Clean() {
				t.Errorf("clean %v, %v", c.Clean(), err)
			}
		})
	}
	if _, err := websocket.Listen(t.Context(), "wss://127.0.0.1:0", nil); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}
	if _, err := (&websocket.Dialer{}).Dial(t.Context(), "ws+unix://"+file+"-none"); err == nil || !strings.Contains(err.Error(), file) {
		t.Error(err)
	}
	var ue *tls.CertificateVerificationError
	if _, err := (&websocket.Dialer{}).Dial(t.Context(), strings.Replace(cert.URL, "https", "wss", 1)); !errors.As(err, &ue) {
		t.Errorf("unknown certificate: %v", err)
	}
}

func TestAnswersThatOpenNoWebSocketAreExplained(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ header, want string }{
		{"Sec-WebSocket-Accept: x", "Sec-WebSocket-Accept"},
		{"Sec-WebSocket-Protocol: x", "subprotocol x, expected none"},
		{"Sec-WebSocket-Extensions: x-webkit", "extension x-webkit"},
		{"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits=7", "client_max_window_bits=7"},
		{"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_max_window_bits=9", ""},
		{"Sec-WebSocket-Extensions: permessage-deflate", "compression"},
		{"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9", ""},
	} {
		hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + tt.header + "\r\n"
			if !strings.Contains(tt.header, "Accept") {
				answer += "Sec-WebSocket-Accept: " + acceptKey(r.Header.Get("Sec-Websocket-Key")) + "\r\n"
			}
			_, _ = io.WriteString(c, answer+"\r\n")
			_, _ = c.Read(make([]byte, 100))
		}))
		c, err := (&websocket.Dialer{Config: websocket.Config{Deflate: true}}).Dial(t.Context(), strings.Replace(hs.URL, "http", "ws", 1))
		if err == nil {
			_ = c.Abandon()
		}
		var he *websocket.HandshakeError
		if tt.want == "" && err != nil || tt.want != "" && (!errors.As(err, &he) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v", tt.header, err)
		}
		hs.Close()
	}
}
