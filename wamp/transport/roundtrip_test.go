package transport_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gantry/wamp"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
)

// carries sends messages of many sizes through a server that echoes them.
func carries(t *testing.T, p wamp.Peer) {
	t.Helper()
	done := make(chan error, 1)
	sizes := []int{0, 1, 100, 125, 126, 127, 500, 2000, 2048, 16_000, 16_384, 65_000, 65_535, 65_536, 200_000, 700_000}
	payload := func(n int) wamp.Payload {
		return wamp.Values(wamp.List{strings.Repeat("ä", n/2), []byte(strings.Repeat("\x00\xff", n/8)), 1.5, int64(-3)}, wamp.Dict{"n": int64(n)})
	}
	go func() {
		for _, n := range sizes {
			m := &wamp.Publish{Request: wamp.ID(n + 1), Topic: "com.example.topic", Payload: payload(n)}
			if err := p.Send(context.Background(), m); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for _, n := range sizes {
		m, err := p.Recv()
		if err != nil {
			t.Fatalf("message of about %d bytes: %v", n, err)
		}
		got := m.(*wamp.Publish)
		args, kwargs, err := serialize.Values(got.Payload)
		wantArgs, wantKwargs := (&wamp.Publish{Payload: payload(n)}).Payload.GoValues()
		if err != nil || got.Request != wamp.ID(n+1) || got.Topic != "com.example.topic" || !reflect.DeepEqual(args, wantArgs) || !reflect.DeepEqual(kwargs, wantKwargs) {
			t.Fatalf("message of about %d bytes came back as request %d, %d arguments, %v", n, got.Request, len(args), err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestMessagesOfEverySizeComeBack(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		s := serve(t, network, transport.ServerConfig{Options: transport.Options{Queue: 4 << 20}}, echo)
		for _, l := range wamptest.NetworkLinks() {
			t.Run(network+"-"+l.String(), func(t *testing.T) {
				t.Parallel()
				p, err := transport.Dial(t.Context(), s.url(l), transport.DialConfig{Formats: []wamp.Format{l.Format}})
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = p.Close() }()
				info := p.Info()
				if info.Transport != l.Transport || info.Format != l.Format || !info.Local || info.Encrypted || info.Remote == "" {
					t.Errorf("info is %+v", info)
				}
				carries(t, p)
			})
		}
	}
}

// certificate returns TLS configurations of a server and of a client that trusts it.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	ts := httptest.NewUnstartedServer(nil)
	ts.StartTLS()
	defer ts.Close()
	pool := x509.NewCertPool()
	pool.AddCert(ts.Certificate())
	return &tls.Config{Certificates: ts.TLS.Certificates}, &tls.Config{RootCAs: pool, ServerName: "example.com"}
}

func TestTLSCarriesEveryTransport(t *testing.T) {
	t.Parallel()
	ours, theirs := certificate(t)
	s := serve(t, "tcp", transport.ServerConfig{Options: transport.Options{Queue: 4 << 20}, TLS: ours, HTTP: teapot}, echo)
	each(t, func(t *testing.T, l wamptest.Link) {
		url := strings.Replace(s.url(l), "s://", "ss://", 1)
		p, err := transport.Dial(t.Context(), url, transport.DialConfig{Formats: []wamp.Format{l.Format}, TLS: theirs})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = p.Close() }()
		if !p.Info().Encrypted {
			t.Error("the connection says it is not encrypted")
		}
		carries(t, p)
	})
	t.Run("http", func(t *testing.T) {
		t.Parallel()
		tr := &http.Transport{TLSClientConfig: theirs}
		defer tr.CloseIdleConnections()
		resp, err := (&http.Client{Transport: tr}).Get("https://" + s.addr + "/other")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusTeapot {
			t.Errorf("status %s", resp.Status)
		}
	})
	t.Run("untrusted", func(t *testing.T) {
		t.Parallel()
		for _, scheme := range []string{"wss", "rss"} {
			if p, err := transport.Dial(t.Context(), scheme+"://"+s.addr, transport.DialConfig{}); err == nil {
				_ = p.Close()
				t.Errorf("%s: a certificate of nobody was accepted", scheme)
			}
		}
	})
}

func TestOnePortServesEveryProtocol(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			s := serve(t, network, transport.ServerConfig{HTTP: teapot}, echo)
			var peers []*wamptest.Peer
			for _, l := range wamptest.NetworkLinks() {
				peers = append(peers, wamptest.Dial(t, s.network, s.addr, l))
			}
			tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, s.network, s.addr)
			}}
			defer tr.CloseIdleConnections()
			resp, err := (&http.Client{Transport: tr}).Get("http://gateway/metrics")
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusTeapot {
				t.Errorf("HTTP was answered %s", resp.Status)
			}
			for _, p := range peers {
				p.Send(`[34, 7, 8]`)
				p.Expect(`[34, 7, 8]`)
			}
		})
	}
}

func TestHostHeaderIsChecked(t *testing.T) {
	t.Parallel()
	s := serve(t, "tcp", transport.ServerConfig{HTTP: teapot, CheckHost: func(h string) bool { return h == "gateway.local" }}, echo)
	for host, want := range map[string]int{"gateway.local": http.StatusTeapot, "evil.example": http.StatusMisdirectedRequest} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host, req.Close = host, true
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("host %s was answered %s, expected %d", host, resp.Status, want)
		}
	}
}

func TestFormatIsTheClientsFirstThatFits(t *testing.T) {
	t.Parallel()
	s := serve(t, "tcp", transport.ServerConfig{Formats: []wamp.Format{wamp.JSON, wamp.MsgPack}}, echo)
	for _, tr := range []string{"websocket", "rawsocket"} {
		for _, c := range []struct {
			offer []wamp.Format
			want  wamp.Format
		}{
			{nil, wamp.MsgPack},
			{[]wamp.Format{wamp.CBOR, wamp.JSON, wamp.MsgPack}, wamp.JSON},
			{[]wamp.Format{wamp.CBOR}, wamp.NoFormat},
		} {
			p, err := transport.Dial(t.Context(), s.url(wamptest.Link{Transport: tr}), transport.DialConfig{Formats: slices.Clone(c.offer)})
			if c.want == wamp.NoFormat {
				if err == nil {
					t.Errorf("%s: a format that the server does not speak was agreed on", tr)
					_ = p.Close()
				}
				continue
			}
			if err != nil {
				t.Errorf("%s offering %v: %v", tr, c.offer, err)
				continue
			}
			if f := p.Info().Format; f != c.want {
				t.Errorf("%s offering %v: agreed on %s, expected %s", tr, c.offer, f, c.want)
			}
			_ = p.Close()
		}
	}
}

func TestDialRefusesURLs(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "::", "http://127.0.0.1/", "rs://127.0.0.1", "rs://127.0.0.1:1/path", "mqtt://127.0.0.1:1"} {
		if p, err := transport.Dial(t.Context(), url, transport.DialConfig{}); err == nil {
			_ = p.Close()
			t.Errorf("%q was dialled", url)
		}
	}
	for _, o := range []transport.Options{{MaxMessage: 511}, {MaxMessage: 1<<24 + 1}, {Queue: -1}, {MaxDepth: -1}} {
		if _, err := transport.NewServer(transport.ServerConfig{Options: o}, serving(echo), nil); err == nil {
			t.Errorf("options %+v are accepted", o)
		}
	}
}

func TestALostConnectionIsToldFromAnOrderlyEnd(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l wamptest.Link) {
		s := serve(t, "tcp", transport.ServerConfig{Options: hasty}, nil)
		p, router := s.script(t, l)
		p.SendBytes(p.Encode(wamptest.Frame{Kind: 2, Payload: make([]byte, 100)})[:50])
		p.Close()
		if _, err := router.Recv(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("the end inside a message is reported as %v", err)
		}
	})
}
