package websocket_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"gantry/wamp/websocket"
)

// proxy is an HTTP proxy that knows CONNECT and asks for a login.
func proxy(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
		return
	}
	if r.Header.Get("Proxy-Authorization") != "Basic YW5uOnMzY3JldA==" {
		http.Error(w, "log in", http.StatusProxyAuthRequired)
		return
	}
	to, err := net.Dial("tcp", r.Host)
	if err != nil {
		http.Error(w, "no way", http.StatusBadGateway)
		return
	}
	defer to.Close()
	from, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer from.Close()
	_, _ = io.WriteString(from, "HTTP/1.1 200 Connection established\r\n\r\n")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}()
	_, _ = io.Copy(from, to)
	_ = from.Close()
	<-done
}

func TestClientGoesThroughProxies(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.HandlerFunc(proxy))
	defer plain.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(proxy))
	defer secure.Close()
	target := httptest.NewServer(upgrading(&websocket.Server{}, echo))
	defer target.Close()
	secureTarget := httptest.NewTLSServer(upgrading(&websocket.Server{}, echo))
	defer secureTarget.Close()
	trust := secure.Client().Transport.(*http.Transport).TLSClientConfig
	for _, via := range []string{plain.URL, secure.URL} {
		for _, to := range []string{target.URL, secureTarget.URL} {
			u, err := url.Parse(via)
			if err != nil {
				t.Fatal(err)
			}
			at := strings.Replace(to, "http", "ws", 1)
			asked := ""
			d := &websocket.Dialer{ProxyTLS: trust, TLS: trust, Proxy: func(r *http.Request) (*url.URL, error) {
				asked = r.URL.String()
				return u, nil
			}}
			_, err = d.Dial(t.Context(), at)
			var pe *websocket.ProxyError
			if !errors.As(err, &pe) || pe.Status != http.StatusProxyAuthRequired {
				t.Errorf("%s via %s without login: %v", at, via, err)
			}
			if asked != to+"/" {
				t.Errorf("proxy for %s is asked for as that for %s", at, asked)
			}
			u.User = url.UserPassword("ann", "s3cret")
			c := dial(t, d, at)
			if err := c.Write(websocket.Text, []byte("hi")); err != nil {
				t.Fatal(err)
			}
			if _, b, err := c.Read(); err != nil || string(b) != "hi" {
				t.Errorf("%s via %s: %q, %v", at, via, b, err)
			}
			_, err = d.Dial(t.Context(), "ws://127.0.0.1:1/")
			if !errors.As(err, &pe) || pe.Status != http.StatusBadGateway || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "expected 200") {
				t.Errorf("no way on: %v", err)
			}
		}
	}
	for _, wrong := range []string{"socks5://127.0.0.1:1", "http://127.0.0.1:1"} {
		u, err := url.Parse(wrong)
		if err != nil {
			t.Fatal(err)
		}
		_, err = (&websocket.Dialer{Proxy: http.ProxyURL(u)}).Dial(t.Context(), "ws://localhost")
		var pe *websocket.ProxyError
		if !errors.As(err, &pe) || pe.Status != 0 || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}
