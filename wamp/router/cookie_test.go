package router_test

import (
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/auth"
	"gantry/wamp/router"
)

// TestCookies: whoever has logged in joins by the cookie until it is too old or he
// logs out, from the same browser, to the same realm, and unread by others.
func TestCookies(t *testing.T) {
	k := newKeys(t)
	browser := wamp.PeerInfo{Transport: "websocket", Remote: "192.0.2.1:5", Encrypted: true, Cookie: "c1"}
	login := func(w *world, info wamp.PeerInfo) wamp.Message {
		w.t.Helper()
		return w.logsIn(auth.NewClient("ann", &auth.CRA{Secret: k.password}), info)
	}
	by := func(w *world, info wamp.PeerInfo) (*scripted, wamp.Message) {
		w.t.Helper()
		p := w.connect()
		p.info = info
		p.say(&wamp.Hello{Realm: "realm1", Details: wamp.Dict{"roles": allRoles, "authmethods": wamp.List{"cookie"}}})
		return p, p.heard()[0]
	}
	refused := func(w *world, info wamp.PeerInfo) {
		w.t.Helper()
		_, m := by(w, info)
		if abort, ok := m.(*wamp.Abort); !ok || abort.Reason != wamp.ErrURINoMatchingAuthMethod {
			w.t.Errorf("a cookie that proves nothing: %v", m)
		}
	}
	secured(t, k, func(c *router.LoginConfig) { c.Cookies = router.CookieConfig{MaxAge: time.Hour, Max: 2} }, func(w *world) {
		refused(w, browser)
		if m, ok := login(w, browser).(*wamp.Welcome); !ok || m.Details["authmethod"] != "wampcra" {
			t.Fatalf("login: %v", m)
		}
		p, m := by(w, browser)
		welcome, ok := m.(*wamp.Welcome)
		if !ok || welcome.Details["authid"] != "ann" || welcome.Details["authrole"] != "operator" || welcome.Details["authmethod"] != "cookie" {
			t.Fatalf("a browser that has logged in: %v", m)
		}
		second, _ := by(w, browser)

		other := browser
		other.Cookie = "c2"
		refused(w, other)
		other = browser
		other.Encrypted = false
		refused(w, other)
		login(w, other) // leaves nothing behind
		other.Cookie = ""
		refused(w, other)

		// Logging out ends the other tab as well.
		p.say(&wamp.Goodbye{Reason: wamp.CloseURILogout})
		if got := second.heard(); len(got) != 1 || got[0].(*wamp.Goodbye).Reason != wamp.CloseURILogout {
			t.Errorf("the other tab hears %v", got)
		}
		refused(w, browser)

		// So does being killed.
		login(w, browser)
		p, _ = by(w, browser)
		killer, _ := w.join("killer")
		killer.say(&wamp.Call{Request: 1, Procedure: "wamp.session.kill_by_authid", Payload: wamp.Args("ann")})
		if got := p.heard(); len(got) != 1 || got[0].Type() != wamp.TypeGoodbye {
			t.Errorf("the killed session hears %v", got)
		}
		refused(w, browser)

		login(w, browser)
		time.Sleep(time.Hour - time.Second)
		by(w, browser)
		time.Sleep(time.Second) // joining by the cookie does not prolong it
		refused(w, browser)

		// The oldest makes room.
		for _, c := range []string{"c1", "c2", "c3"} {
			other = browser
			other.Cookie = c
			login(w, other)
			time.Sleep(time.Second)
		}
		refused(w, browser)
		if _, m := by(w, other); m.Type() != wamp.TypeWelcome {
			t.Errorf("the newest is forgotten: %v", m)
		}
	})
}
