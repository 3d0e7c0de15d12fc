package router_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gantry/wamp"
	"gantry/wamp/router"
)

// Every refusal has a URI, a counter with that name, and one line of log that says
// what to do, however often it happens.
func TestEveryRefusalIsCountedAndLogged(t *testing.T) {
	t.Parallel()
	hello := func(realm wamp.URI, details wamp.Dict) *wamp.Hello {
		return &wamp.Hello{Realm: realm, Details: details}
	}
	roles := wamp.Dict{"roles": allRoles}
	call := func(uri wamp.URI, args ...any) *wamp.Call {
		return &wamp.Call{Request: 1, Procedure: uri, Payload: wamp.Args(args...)}
	}
	for name, c := range map[string]struct {
		first  *wamp.Hello  // nil: a session that has joined
		then   wamp.Message // the request; nil: a login
		reason wamp.URI
	}{
		"realm":               {hello("nowhere", roles), nil, wamp.ErrURINoSuchRealm},
		"no role announced":   {hello("realm1", nil), nil, wamp.ErrURIProtocolViolation},
		"method":              {hello("realm1", wamp.Dict{"roles": allRoles, "authmethods": wamp.List{"ticket"}}), nil, wamp.ErrURINoMatchingAuthMethod},
		"procedure":           {nil, call("nobody"), wamp.ErrURINoSuchProcedure},
		"second registration": {nil, &wamp.Register{Request: 2, Procedure: "taken"}, wamp.ErrURIProcedureAlreadyExists},
		"subscription":        {nil, &wamp.Unsubscribe{Request: 1, Subscription: 99}, wamp.ErrURINoSuchSubscription},
		"registration":        {nil, &wamp.Unregister{Request: 1, Registration: 99}, wamp.ErrURINoSuchRegistration},
		"session":             {nil, call("wamp.session.kill", 99), wamp.ErrURINoSuchSession},
		"topic":               {nil, &wamp.Subscribe{Request: 1, Topic: "a b"}, wamp.ErrURIInvalidURI},
		"argument":            {nil, call("wamp.session.get", "x"), wamp.ErrURIInvalidArgument},
		"match":               {nil, &wamp.Subscribe{Request: 1, Topic: "a", Options: wamp.SubscribeOptions{Match: wamp.MatchInvalid}}, wamp.ErrURIInvalidArgument},
		"limit":               {nil, &wamp.Register{Request: 2, Procedure: "one.more"}, wamp.ErrURILimit},
		"run mode":            {nil, &wamp.Call{Request: 1, Procedure: "taken", Options: wamp.CallOptions{RunMode: "all"}}, wamp.ErrURIFeatureNotSupported},
		"busy":                {nil, call("busy"), wamp.ErrURINoAvailableCallee},
		"denied":              {nil, call("denied"), wamp.ErrURINotAuthorized},
		"timeout":             {nil, &wamp.Call{Request: 1, Procedure: "taken", Options: wamp.CallOptions{Timeout: 1}}, wamp.ErrURITimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				r, err := router.New(router.Config{Realms: []router.RealmConfig{{
					Name: "realm1", MaxRegistrations: 2,
					Authorize: func(_ router.Identity, _ router.Action, uri wamp.URI, _ wamp.Match) (bool, error) {
						return uri != "denied", nil
					},
				}}}, slog.New(slog.NewTextHandler(&log, nil)))
				if err != nil {
					t.Fatal(err)
				}
				w := &world{t: t, Router: r}
				other, _ := w.join("other")
				other.say(&wamp.Register{Request: 1, Procedure: "taken"}, &wamp.Register{Request: 2, Procedure: "busy", Options: wamp.RegisterOptions{Concurrency: 1}},
					&wamp.Call{Request: 3, Procedure: "busy"})
				other.heard()
				log.Reset()
				counts := func() uint64 { return r.Total().Refused[c.reason] }
				var peers []*scripted
				for range 3 {
					p := w.connectBy("websocket")
					peers = append(peers, p)
					if c.first != nil {
						counts = func() uint64 { return r.LoginsRefused()[c.reason] }
						p.say(c.first)
						p.hears(&wamp.Abort{Reason: c.reason})
						continue
					}
					p.say(hello("realm1", roles))
					if name == "limit" {
						p.say(&wamp.Register{Request: 1, Procedure: wamp.URI("own." + string(rune('a'+len(peers))))}, &wamp.Register{Request: 1, Procedure: wamp.URI("other." + string(rune('a'+len(peers))))})
					}
					p.heard()
					p.say(c.then)
					synctest.Wait()
					if name == "timeout" {
						other.heard()
					}
					var got *wamp.ErrorReply
					for got == nil {
						for _, m := range p.heard() {
							got, _ = m.(*wamp.ErrorReply)
						}
						if got == nil {
							synctest.Wait()
							time.Sleep(time.Millisecond)
						}
					}
					if got.URI != c.reason {
						t.Fatalf("refused with %s", got.URI)
					}
				}
				if n := counts(); n != 3 {
					t.Errorf("%d refusals with %s are counted, expected 3", n, c.reason)
				}
				lines := strings.Split(strings.TrimSpace(log.String()), "\n")
				if len(lines) != 1 || !strings.Contains(lines[0], "hint=") {
					t.Errorf("the log says\n%s", log.String())
				}
				for _, p := range append(peers, other) {
					if !p.isClosed() {
						close(p.in)
					}
				}
				w.accepted.Wait()
			})
		})
	}
}
