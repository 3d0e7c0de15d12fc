package interop_test

import (
	"reflect"
	"strings"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// values are what every library can express: the integer is the largest that all
// of them have and send as one.
var (
	values      = list{21.5, "å ☃ 𝄞", int64(1<<53 - 1), -5, true, nil, list{}, list{1, list{"two"}}}
	namedValues = doc{"unit": "Cel", "nested": doc{"list": list{1, 2.5}, "empty": doc{}}, "none": nil}
)

func eventsToPeer(w *world) {
	exact := w.peer.Send(do{"op": "subscribe", "topic": "com.events.room1.temperature"})
	prefix := w.peer.Send(do{"op": "subscribe", "topic": "com.events.room", "match": "prefix"})
	wildcard := w.peer.Send(do{"op": "subscribe", "topic": "com.events..temperature", "match": "wildcard"})
	for _, id := range []float64{exact, prefix, wildcard} {
		if m := w.peer.Reply(id); m["error"] != nil {
			w.Fatalf("subscribe: %v", m)
		}
	}
	err := w.gantry.Publish(w.context(), "com.events.room1.temperature", wamp.PublishOptions{}, wamp.Values(values, namedValues))
	if err != nil {
		w.Fatal(err)
	}
	for _, id := range []float64{exact, prefix, wildcard} {
		ev := w.peer.EventFor(id)
		w.heard("event", ev, values, namedValues)
		if ev["topic"] != "com.events.room1.temperature" || ev["retained"] != false {
			w.Errorf("the peer got %v", ev)
		}
	}
	w.publish("com.events.room2.temperature", wamp.PublishOptions{}, nil)
	for _, id := range []float64{prefix, wildcard} {
		ev := w.peer.EventFor(id)
		w.heard("event without a payload", ev, list{}, doc{})
		if ev["topic"] != "com.events.room2.temperature" {
			w.Errorf("the peer got %v", ev)
		}
	}
	w.peer.OK(do{"op": "unsubscribe", "target": exact})
	w.publish("com.events.room1.temperature", wamp.PublishOptions{}, list{"after"})
	for _, id := range []float64{prefix, wildcard} {
		w.heard("event after unsubscribe", w.peer.EventFor(id), list{"after"}, doc{})
	}
	if w.peer.Heard(exact) {
		w.Error("an event for a subscription that is no more, or of another topic")
	}
}

func eventsOfPeer(w *world) {
	events := w.subscribe("org.events.", wamp.SubscribeOptions{Match: wamp.MatchPrefix})
	w.peer.OK(do{"op": "publish", "topic": "org.events.a", "args": values, "kwargs": namedValues})
	ev := next(w, "event", events)
	w.same("event", ev.Payload, values, namedValues)
	if ev.Details.Topic != "org.events.a" {
		w.Errorf("topic %s", ev.Details.Topic)
	}
	if !w.is("autobahn-js") && !w.is("wampy") { // JavaScript has no integers
		args, _, err := serialize.Values(ev.Payload)
		if err != nil || !reflect.DeepEqual(args[2], int64(1<<53-1)) {
			w.Errorf("an integer came as %T(%v), %v", args[2], args[2], err)
		}
	}
	w.peer.OK(do{"op": "publish", "topic": "org.events.b", "args": list{}, "kwargs": doc{}})
	w.same("empty event", next(w, "event", events).Payload, list{}, doc{})
}

func publisherExclusion(w *world) {
	sub := w.peer.Send(do{"op": "subscribe", "topic": "com.exclusion"})
	w.peer.Reply(sub)
	w.peer.OK(do{"op": "publish", "topic": "com.exclusion", "args": list{"own"}, "kwargs": doc{}})
	w.publish("com.exclusion", wamp.PublishOptions{}, list{"other"})
	w.heard("event", w.peer.EventFor(sub), list{"other"}, doc{})
	if w.is("wampy") { // it takes exclude_me = false for no option at all
		return
	}
	w.peer.OK(do{"op": "publish", "topic": "com.exclusion", "args": list{"own"}, "kwargs": doc{}, "options": doc{"exclude_me": false}})
	w.heard("event", w.peer.EventFor(sub), list{"own"}, doc{})
}

func lists(w *world) {
	events := w.subscribe("com.lists", wamp.SubscribeOptions{})
	me := float64(w.gantry.ID())
	for _, p := range []struct {
		options doc
		comes   bool
	}{
		{doc{"exclude": list{me}}, false},
		{doc{"eligible": list{w.joined["session"]}}, false},
		{doc{"eligible": list{me, w.joined["session"]}}, true},
		{doc{"exclude": list{w.joined["session"]}}, true},
	} {
		w.peer.OK(do{"op": "publish", "topic": "com.lists", "args": list{p.options}, "kwargs": doc{}, "options": p.options})
		if p.comes {
			w.same("event", next(w, "event", events).Payload, list{p.options}, nil)
		}
	}
}

func retainedToPeer(w *world) {
	w.publish("com.retained.a", wamp.PublishOptions{Retain: true}, list{"kept"})
	for _, o := range []do{
		{"op": "subscribe", "topic": "com.retained.a", "retained": true},
		{"op": "subscribe", "topic": "com.retained", "match": "prefix", "retained": true},
	} {
		// nexus is not asked: it may drop an event that comes right behind SUBSCRIBED.
		ev := w.peer.EventFor(w.peer.Send(o))
		w.heard("retained value", ev, list{"kept"}, doc{})
		if ev["retained"] != true || ev["topic"] != "com.retained.a" {
			w.Errorf("the retained value came as %v", ev)
		}
	}
}

func retainedOfPeer(w *world) {
	// wampy is not asked: it checks the option retain and does not send it.
	w.peer.OK(do{"op": "publish", "topic": "org.retained.b", "args": list{1}, "kwargs": doc{}, "options": doc{"retain": true}})
	ev := next(w, "retained value", w.subscribe("org.retained.b", wamp.SubscribeOptions{GetRetained: true}))
	w.same("retained value", ev.Payload, list{1}, nil)
	if !ev.Details.Retained {
		w.Error("the retained value is not marked")
	}
}

func integers(w *world) {
	all := list{int64(1 << 53), int64(1<<32 + 1), int64(-1 << 53)}
	if w.is("wampy/ws/cbor") { // it reads integers below -2^32 as others
		all = all[:2]
	}
	w.peer.OK(do{"op": "register", "procedure": "com.integers.peer", "kind": "echo"})
	w.same("integers there and back", w.call("com.integers.peer", all, nil), all, nil)
	w.register("com.integers.gantry", wamp.RegisterOptions{}, echo)
	got := w.peer.OK(do{"op": "call", "procedure": "com.integers.gantry", "args": all, "kwargs": doc{}})
	w.heard("integers there and back", got, all, doc{})
}

func binary(w *world) {
	data := []byte{0, 1, 0xfe, 0xff}
	same := doc{"$bytes": "0001feff"}
	w.peer.OK(do{"op": "register", "procedure": "com.binary.echo", "kind": "echo"})
	args, kwargs := wamp.List{data, wamp.List{data}}, wamp.Dict{"raw": wamp.Dict{"b": data}}
	p, err := w.gantry.Call(w.context(), "com.binary.echo", wamp.CallOptions{}, wamp.Values(args, kwargs))
	if err != nil {
		w.Fatal(err)
	}
	w.same("bytes there and back", p, list{same, list{same}}, doc{"raw": doc{"b": same}})
	sub := w.peer.Send(do{"op": "subscribe", "topic": "com.binary"})
	w.peer.Reply(sub)
	if err := w.gantry.Publish(w.context(), "com.binary", wamp.PublishOptions{}, wamp.Values(args, kwargs)); err != nil {
		w.Fatal(err)
	}
	w.heard("bytes", w.peer.EventFor(sub), list{same, list{same}}, doc{"raw": doc{"b": same}})
}

func large(w *world) {
	text := strings.Repeat("0123456789abcdeå", 16<<10)
	w.peer.OK(do{"op": "register", "procedure": "com.large.peer", "kind": "echo"})
	w.same("large result", w.call("com.large.peer", list{text}, doc{"k": 1}), list{text}, doc{"k": 1})
	w.register("com.large.gantry", wamp.RegisterOptions{}, echo)
	got := w.peer.OK(do{"op": "call", "procedure": "com.large.gantry", "args": list{text}, "kwargs": doc{"k": 1}})
	w.heard("large result", got, list{text}, doc{"k": 1})
}

func passthru(w *world) {
	events := w.subscribe("com.passthru", wamp.SubscribeOptions{})
	w.peer.OK(do{"op": "publish", "topic": "com.passthru", "args": list{1, "a"}, "kwargs": doc{},
		"options": doc{"ppt_scheme": "x_test", "ppt_serializer": "native"}})
	ev := next(w, "event", events)
	if p := ev.Details.Passthru; p == nil || *p != (wamp.Passthru{Scheme: "x_test", Serializer: "native"}) {
		w.Errorf("the event came with %+v", p)
	}
	// The one argument is the library's own packet. nexus leaves the keywords beside
	// it, too.
	args, _, err := serialize.Values(ev.Payload)
	if err != nil || len(args) != 1 || !reflect.DeepEqual(plain(args[0]), any(doc{"args": list{1.0, "a"}, "kwargs": doc{}})) {
		w.Errorf("the event came with %v, %v", args, err)
	}
}
