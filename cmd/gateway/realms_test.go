package main

import (
	"errors"
	"testing"

	"gantry/wamp"
	"gantry/wamp/client"
)

// TestRealmsHaveRulesOfTheirOwn asks for the same in realms that differ.
func TestRealmsHaveRulesOfTheirOwn(t *testing.T) {
	t.Parallel()
	p := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": `schema = 1
mqtt.listen = ""
listen.unix = ""
[realm]
strict_uris = true
also = ["strict"]
on_demand = "tenant."
[realm.of.gantry]
strict_uris = false
[realm.of.loose]
strict_uris = false
strict_request_ids = true
[realm.of."tenant.b"]
strict_uris = false
`}), t.TempDir())
	for realm, strict := range map[wamp.URI]bool{"gantry": false, "strict": true, "loose": false, "tenant.a": true, "tenant.b": false} {
		s, err := client.Join(t.Context(), mustDial(t, p.url), client.SessionConfig{Realm: realm})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Publish(t.Context(), "Not-Strict.at all/", wamp.PublishOptions{Acknowledge: true}, wamp.Payload{})
		if !wamp.IsError(err, wamp.ErrURIInvalidURI) {
			t.Errorf("%s: with a space: %v", realm, err)
		}
		err = s.Publish(t.Context(), "Not-Strict", wamp.PublishOptions{Acknowledge: true}, wamp.Payload{})
		if strict != wamp.IsError(err, wamp.ErrURIInvalidURI) || !strict && err != nil {
			t.Errorf("%s: a loose URI: %v", realm, err)
		}
		_ = s.Close()
	}
	for realm, strict := range map[wamp.URI]bool{"gantry": false, "loose": true} {
		peer := mustDial(t, p.url)
		send := func(m wamp.Message) wamp.Message {
			answer, err := wamp.Message(nil), peer.TrySend(m)
			if err == nil {
				answer, err = peer.Recv()
			}
			if err != nil {
				t.Fatal(errors.Join(errors.New(string(realm)), err))
			}
			return answer
		}
		send(&wamp.Hello{Realm: realm, Details: wamp.Dict{"roles": wamp.Dict{"subscriber": wamp.Dict{}}}})
		answer := send(&wamp.Subscribe{Request: 4711, Topic: "a"})
		if aborted := answer.Type() == wamp.TypeAbort; aborted != strict {
			t.Errorf("%s: a request ID out of order is answered by %s", realm, answer.Type())
		}
		_ = peer.Close()
	}
}
