package transport_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"

	"gantry/wamp"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
)

// TestCookie: a browser is given a cookie once, and known by it over WebSocket and
// long-poll; the cookie itself is told to nobody.
func TestCookie(t *testing.T) {
	peers := make(chan wamp.PeerInfo, 1)
	s := serve(t, "tcp", transport.ServerConfig{Cookie: transport.CookieConfig{Name: "gantry"}}, func(_ context.Context, p wamp.Peer) { peers <- p.Info() })
	ask := func(cookie string) (*http.Response, string) {
		t.Helper()
		conn := s.conn(t)
		request := string(wamptest.Upgrade("/ws", "wamp.2.json"))
		if cookie != "" {
			request = strings.Replace(request, "\r\n\r\n", "\r\nCookie: gantry="+cookie+"\r\n\r\n", 1)
		}
		if _, err := conn.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("status %d", res.StatusCode)
		}
		return res, (<-peers).Cookie
	}
	res, id := ask("")
	if len(res.Cookies()) != 1 || id == "" {
		t.Fatalf("%v, known as %q", res.Header, id)
	}
	c := res.Cookies()[0]
	if c.Name != "gantry" || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure || strings.Contains(id, c.Value) {
		t.Errorf("cookie %v, known as %s", c, id)
	}
	if res, again := ask(c.Value); again != id || len(res.Cookies()) != 0 {
		t.Errorf("with %s known as %s, then as %s; %v", c.Value, id, again, res.Header)
	}
	if res, other := ask("made-up"); other == id || other == "" || len(res.Cookies()) != 1 {
		t.Errorf("a cookie that cannot be the server's is kept: %q %v", other, res.Header)
	}

	request, err := http.NewRequest(http.MethodPost, "http://"+s.addr+"/lp/open", strings.NewReader(`{"protocols": ["wamp.2.json"]}`))
	if err != nil {
		t.Fatal(err)
	}
	request.AddCookie(&http.Cookie{Name: "gantry", Value: c.Value})
	res, err = http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := (<-peers).Cookie; res.StatusCode != http.StatusOK || got != id {
		t.Errorf("long-poll: %s, known as %s, want %s", res.Status, got, id)
	}
}
