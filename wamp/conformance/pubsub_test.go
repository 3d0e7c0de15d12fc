package conformance

import (
	"fmt"
	"testing"

	"gantry/wamp/wamptest"
)

var pubsub = []item{
	{name: "38_publisher_exclusion", run: publisherExclusion},
	{name: "39_empty_eligible_is_nobody", run: emptyEligible},
	{name: "40_lists_combine_by_and", run: listsCombine},
	{name: "41_one_event_per_subscription", run: oneEventPerSubscription},
	{name: "42_subscribing_twice", run: subscribingTwice},
	{name: "43_unsubscribe_what_is_not_held", run: unsubscribeUnknown},
	{name: "44_order_of_events", run: orderOfEvents},
	{name: "45_acknowledged_publish", run: acknowledgedPublish},
	{name: "46_retained_events", run: retainedEvents},
}

func publisherExclusion(t *testing.T) {
	everywhere(t, func(w *world) {
		p, other := w.peer(), w.peer()
		subscribe(p, "sub", `{}`, "a.b")
		subscribe(other, "sub", `{}`, "a.b")
		p.Send(`[16, "+", {}, "a.b", [1]]`, `[16, "+", {"exclude_me": true}, "a.b", [2]]`, `[16, "+", {"exclude_me": false}, "a.b", [3]]`)
		p.Expect(`[36, "$sub", "*", {}, [3]]`)
		p.Fence()
		other.Expect(`[36, "$sub", "*", {}, [1]]`, `[36, "$sub", "*", {}, [2]]`, `[36, "$sub", "*", {}, [3]]`)
	})
}

func emptyEligible(t *testing.T) {
	everywhere(t, func(w *world) {
		s, p := w.peer(), w.peer()
		subscribe(s, "sub", `{}`, "a.b")
		for _, list := range []string{"eligible", "eligible_authid", "eligible_authrole"} {
			p.Send(fmt.Sprintf(`[16, "+", {%q: [], "acknowledge": true}, "a.b", [1]]`, list))
			p.Expect(`[17, "=", "*"]`)
		}
		for _, list := range []string{"exclude", "exclude_authid", "exclude_authrole"} {
			p.Send(fmt.Sprintf(`[16, "+", {%q: []}, "a.b", [%q]]`, list, list))
			s.Expect(fmt.Sprintf(`[36, "$sub", "*", {}, [%q]]`, list))
		}
		p.Fence()
		s.Fence()
	})
}

// identity is what WELCOME says of a peer.
func (w *world) identity() (p *wamptest.Peer, session, authid, authrole string) {
	w.t.Helper()
	p = w.connect()
	p.Send(`[1, "realm1", {"authid": "$authid", "roles": {"publisher": {}, "subscriber": {}}}]`)
	details, _ := p.Recv()[2].(map[string]any)
	authid, _ = details["authid"].(string)
	authrole, _ = details["authrole"].(string)
	// The session ID is disclosed by a publication of its own.
	p.Send(`[32, "+", {}, "who.am.i"]`)
	p.Expect(`[33, "=", "$me"]`)
	p.Send(`[16, "+", {"disclose_me": true, "exclude_me": false}, "who.am.i"]`)
	p.Expect(`[36, "$me", "*", {"publisher": "$id", "...": 0}]`)
	p.Send(`[34, "+", "$me"]`)
	p.Expect(`[35, "="]`)
	return p, fmt.Sprint(p.Var("id")), authid, authrole
}

func listsCombine(t *testing.T) {
	everywhere(t, func(w *world) {
		a, ida, autha, role := w.identity()
		b, idb, authb, _ := w.identity()
		p := w.peer()
		subscribe(a, "exact", `{}`, "a.b")
		subscribe(a, "prefix", `{"match": "prefix"}`, "a")
		subscribe(b, "exact", `{}`, "a.b")
		for i, c := range []struct {
			options string
			a, b    bool
		}{
			{`"exclude": [` + ida + `]`, false, true},
			{`"eligible": [` + ida + `]`, true, false},
			{`"eligible": [` + ida + `, ` + idb + `], "exclude": [` + idb + `]`, true, false},
			{`"exclude_authid": ["` + autha + `"]`, false, true},
			{`"eligible_authid": ["` + authb + `"]`, false, true},
			{`"eligible_authrole": ["` + role + `"]`, true, true},
			{`"eligible_authrole": ["nobody"]`, false, false},
			{`"exclude_authrole": ["` + role + `"]`, false, false},
			{`"eligible": [` + ida + `], "eligible_authid": ["` + authb + `"]`, false, false},
			{`"eligible": [` + ida + `], "eligible_authrole": ["` + role + `"], "eligible_authid": ["` + autha + `"], "exclude": [` + idb + `], "exclude_authid": ["x"], "exclude_authrole": ["y"]`, true, false},
			{`"eligible": [` + ida + `], "exclude": [` + ida + `]`, false, false},
		} {
			p.Send(fmt.Sprintf(`[16, "+", {%s}, "a.b", [%d]]`, c.options, i))
			if c.a {
				a.ExpectAny(fmt.Sprintf(`[36, "$exact", "*", {}, [%d]]`, i), fmt.Sprintf(`[36, "$prefix", "*", {"topic": "a.b"}, [%d]]`, i))
			}
			if c.b {
				b.Expect(fmt.Sprintf(`[36, "$exact", "*", {}, [%d]]`, i))
			}
			fences(p, a, b)
		}
	})
}

func oneEventPerSubscription(t *testing.T) {
	everywhere(t, func(w *world) {
		s, p := w.peer(), w.peer()
		subscribe(s, "exact", `{}`, "com.example.topic")
		subscribe(s, "prefix", `{"match": "prefix"}`, "com.example")
		subscribe(s, "shorter", `{"match": "prefix"}`, "com")
		subscribe(s, "wild", `{"match": "wildcard"}`, "com..topic")
		subscribe(s, "other", `{"match": "wildcard"}`, "org..topic")
		p.Send(`[16, "+", {"acknowledge": true}, "com.example.topic", [1]]`)
		p.Expect(`[17, "=", "$pub"]`)
		s.Set("pub", p.Var("pub"))
		s.ExpectAny(`[36, "$exact", "$pub", {}, [1]]`,
			`[36, "$prefix", "$pub", {"topic": "com.example.topic"}, [1]]`,
			`[36, "$shorter", "$pub", {"topic": "com.example.topic"}, [1]]`,
			`[36, "$wild", "$pub", {"topic": "com.example.topic"}, [1]]`)
		s.Fence()
		p.Send(`[16, "+", {}, "com.other.topic", [2]]`)
		s.ExpectAny(`[36, "$shorter", "*", {"topic": "com.other.topic"}, [2]]`, `[36, "$wild", "*", {"topic": "com.other.topic"}, [2]]`)
		p.Send(`[16, "+", {}, "com.example.topic.more", [3]]`)
		s.ExpectAny(`[36, "$shorter", "*", {"topic": "com.example.topic.more"}, [3]]`, `[36, "$prefix", "*", {"topic": "com.example.topic.more"}, [3]]`)
		p.Fence()
		s.Fence()
	})
}

func subscribingTwice(t *testing.T) {
	everywhere(t, func(w *world) {
		a, b, p := w.peer(), w.peer(), w.peer()
		subscribe(a, "sub", `{}`, "a.b")
		subscribe(a, "sub", `{"match": "exact"}`, "a.b") // the same ID again
		subscribe(a, "prefix", `{"match": "prefix"}`, "a.b")
		subscribe(a, "wild", `{"match": "wildcard"}`, "a.b")
		if x, y, z := a.Var("sub"), a.Var("prefix"), a.Var("wild"); x == y || x == z || y == z {
			w.t.Errorf("match policies share subscription IDs: %d %d %d", x, y, z)
		}
		b.Set("sub", a.Var("sub"))
		subscribe(b, "sub", `{}`, "a.b") // all subscribers share it
		p.Send(`[16, "+", {}, "a.b", [1]]`)
		b.Expect(`[36, "$sub", "*", {}, [1]]`)
		a.ExpectAny(`[36, "$sub", "*", {}, [1]]`, `[36, "$prefix", "*", {"topic": "a.b"}, [1]]`, `[36, "$wild", "*", {"topic": "a.b"}, [1]]`)
		a.Fence() // one event although subscribed twice
		a.Send(`[34, "+", "$sub"]`)
		a.Expect(`[35, "="]`)
		a.Send(`[34, "+", "$sub"]`) // one UNSUBSCRIBE undoes both
		a.Expect(`[8, 34, "=", {}, "wamp.error.no_such_subscription", "..."]`)
		p.Send(`[16, "+", {}, "a.b", [2]]`)
		b.Expect(`[36, "$sub", "*", {}, [2]]`)
		a.ExpectAny(`[36, "$prefix", "*", {"topic": "a.b"}, [2]]`, `[36, "$wild", "*", {"topic": "a.b"}, [2]]`)
	})
}

func unsubscribeUnknown(t *testing.T) {
	everywhere(t, func(w *world) {
		a, b := w.peer(), w.peer()
		subscribe(a, "sub", `{}`, "a.b")
		b.Set("sub", a.Var("sub"))
		for _, id := range []string{`"$sub"`, `4711`, `9007199254740992`} {
			b.Send(`[34, "+", ` + id + `]`)
			b.Expect(`[8, 34, "=", {}, "wamp.error.no_such_subscription", "..."]`)
		}
		b.Send(`[16, "+", {}, "a.b", [1]]`)
		a.Expect(`[36, "$sub", "*", {}, [1]]`) // it has not lost it
	})
}

func orderOfEvents(t *testing.T) {
	everywhere(t, func(w *world) {
		s := w.peer()
		subscribe(s, "one", `{}`, "a.one")
		subscribe(s, "two", `{}`, "a.two")
		const n, publishers = 100, 3
		done := make(chan struct{}, publishers)
		for k := range publishers {
			p := w.peer()
			go func() {
				defer func() { done <- struct{}{} }()
				for i := range n {
					topic := []string{"a.one", "a.two"}[i%2]
					p.Send(fmt.Sprintf(`[16, "+", {}, %q, [%d, %d]]`, topic, k, i))
				}
			}()
		}
		var next [publishers]int64
		for range n * publishers {
			args, _ := s.Recv()[4].([]any)
			k, i := args[0].(int64), args[1].(int64)
			if i != next[k] {
				w.t.Fatalf("publisher %d: event %d came, expected %d", k, i, next[k])
			}
			next[k]++
		}
		for range publishers {
			<-done
		}
	})
	t.Run("between answers", func(t *testing.T) {
		everywhere(t, func(w *world) {
			p, s := w.peer(), w.peer()
			stop := meanwhile(func() {
				p.Send(`[16, "+", {}, "a.b"]`)
			})
			for range 5 {
				s.Send(`[32, "+", {}, "a.b"]`)
				s.Expect(`[33, "=", "$sub"]`, `[36, "$sub", "*", {}]`) // SUBSCRIBED comes first
				s.Send(`[34, "+", "$sub"]`)
				for {
					m := s.Recv()
					if m[0] == any(int64(35)) {
						break
					}
					if m[0] != any(int64(36)) {
						w.t.Fatalf("received %v", m)
					}
				}
				s.Fence() // and UNSUBSCRIBED last
				s.Unset("sub")
			}
			stop()
		})
	})
}

func acknowledgedPublish(t *testing.T) {
	everywhere(t, func(w *world) {
		p := w.peer()
		p.Send(`[16, "+", {"acknowledge": true}, "a.b", [1], {"k": 1}]`)
		p.Expect(`[17, "=", "*"]`)
		p.Send(`[16, "+", {"acknowledge": true}, "a b"]`)
		p.Expect(`[8, 16, "=", {}, "wamp.error.invalid_uri", "..."]`)
		p.Send(`[16, "+", {"acknowledge": true}, "wamp.topic"]`)
		p.Expect(`[8, 16, "=", {}, "wamp.error.invalid_uri", "..."]`)
		p.Send(`[16, "+", {}, "a.b"]`, `[16, "+", {"acknowledge": false}, "a.b"]`, `[16, "+", {}, "a b"]`, `[16, "+", {}, "wamp.topic"]`)
		p.Fence()
	})
}

func retainedEvents(t *testing.T) {
	everywhere(t, func(w *world) {
		p := w.peer()
		p.Send(`[16, "+", {"retain": true}, "a.b", [1]]`, `[16, "+", {"retain": true}, "a.b", [2], {"k": true}]`,
			`[16, "+", {}, "a.b", [3]]`, `[16, "+", {"retain": true}, "a.c", [4]]`)
		p.Fence()
		late := w.peer()
		subscribe(late, "plain", `{}`, "a.b")
		late.Fence() // nothing unless asked for
		late = w.peer()
		subscribe(late, "sub", `{"get_retained": true}`, "a.b")
		late.Expect(`[36, "$sub", "*", {"retained": true}, [2], {"k": true}]`)
		late.Fence()
		p.Send(`[16, "+", {}, "a.b", [5]]`)
		late.Expect(`[36, "$sub", "*", {}, [5]]`) // live events are not marked
		for _, options := range []string{`{"match": "prefix", "get_retained": true}`, `{"match": "wildcard", "get_retained": true}`} {
			late = w.peer()
			topic := "a"
			if options[11] == 'w' {
				topic = "a."
			}
			subscribe(late, "sub", options, topic)
			late.ExpectAny(`[36, "$sub", "*", {"retained": true, "topic": "a.b"}, [2], {"k": true}]`, `[36, "$sub", "*", {"retained": true, "topic": "a.c"}, [4]]`)
			late.Fence()
		}
		// The lists of the publication hold for the late subscriber.
		p.Send(`[16, "+", {"retain": true, "eligible_authrole": ["nobody"]}, "a.secret", [1]]`)
		p.Fence()
		late = w.peer()
		subscribe(late, "sub", `{"get_retained": true}`, "a.secret")
		late.Fence()
	})
}
