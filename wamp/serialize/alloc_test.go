package serialize_test

import (
	"testing"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// routed are pairs of a message and what a router makes of it.
var routed = []struct {
	name string
	in   wamp.Message
	out  func(wamp.Message) wamp.Message // uses the same memory each time
}{
	{
		"CALL to INVOCATION",
		&wamp.Call{
			Request: 9, Procedure: "gantry.gw1.set.boiler.valve",
			Options: wamp.CallOptions{
				ReceiveProgress: true, Timeout: 5000, RKey: "a", Passthru: &wamp.Passthru{Scheme: "x_s", Serializer: "cbor"}},
			Payload: samplePayload,
		},
		func() func(wamp.Message) wamp.Message {
			var inv wamp.Invocation
			return func(m wamp.Message) wamp.Message {
				c := m.(*wamp.Call)
				inv = wamp.Invocation{Request: 77, Registration: 1 << 40, Payload: c.Payload}
				inv.Details.Procedure, inv.Details.Passthru = c.Procedure, c.Options.Passthru
				inv.Details.ReceiveProgress = c.Options.ReceiveProgress
				return &inv
			}
		}(),
	},
	{
		"YIELD to RESULT",
		&wamp.Yield{Request: 77, Options: wamp.YieldOptions{Progress: true}, Payload: samplePayload},
		func() func(wamp.Message) wamp.Message {
			var res wamp.Result
			return func(m wamp.Message) wamp.Message {
				y := m.(*wamp.Yield)
				res = wamp.Result{Request: 9, Payload: y.Payload}
				res.Details.Progress = y.Options.Progress
				return &res
			}
		}(),
	},
	{
		"PUBLISH to EVENT",
		&wamp.Publish{
			Request: 3, Topic: "gantry.gw1.point.boiler.temperature",
			Options: wamp.PublishOptions{Acknowledge: true, IncludeMe: true, Retain: true},
			Payload: samplePayload,
		},
		func() func(wamp.Message) wamp.Message {
			var ev wamp.Event
			return func(m wamp.Message) wamp.Message {
				p := m.(*wamp.Publish)
				ev = wamp.Event{Subscription: 4, Publication: 1 << 52, Payload: p.Payload}
				ev.Details.Topic = p.Topic
				return &ev
			}
		}(),
	},
	{"EVENT", &wamp.Event{Subscription: 1, Publication: 2, Details: wamp.EventDetails{
		Publisher: 5, PublisherAuthID: "anna", Topic: "a.b"}, Payload: samplePayload}, same},
	{"INVOCATION", &wamp.Invocation{Request: 1, Registration: 2, Details: wamp.InvocationDetails{
		Caller: 5, CallerAuthID: "anna", Procedure: "a.b", Timeout: 3}, Payload: samplePayload}, same},
	{"RESULT", &wamp.Result{Request: 1, Details: wamp.ResultDetails{Callee: 3}, Payload: samplePayload}, same},
	{"ERROR", &wamp.ErrorReply{RequestType: wamp.TypeCall, Request: 1, URI: wamp.ErrURIBusy, Payload: samplePayload}, same},
	{"PUBLISHED", &wamp.Published{Request: 1, Publication: 2}, same},
	{"SUBSCRIBE", &wamp.Subscribe{Request: 1, Topic: "a..b", Options: wamp.SubscribeOptions{Match: wamp.MatchWildcard}}, same},
	{"REGISTER", &wamp.Register{Request: 1, Procedure: "a.b", Options: wamp.RegisterOptions{Invoke: wamp.InvokeLast}}, same},
	{"CANCEL", &wamp.Cancel{Request: 1, Mode: wamp.CancelSkip}, same},
	{"INTERRUPT", &wamp.Interrupt{Request: 1, Reason: wamp.ErrURITimeout}, same},
}

func same(m wamp.Message) wamp.Message { return m }

var samplePayload = wamp.Values(wamp.List{21.5, "good", true, nil, []byte{1, 2, 3}},
	wamp.Dict{"ts": int64(1700000000000000), "unit": "Cel", "text": "é \"quoted\"\n", "list": wamp.List{1, wamp.List{}}})

func TestRoutingAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("allocations are not counted under the race detector")
	}
	for _, r := range routed {
		for _, from := range formats {
			wire, err := serialize.Append(nil, from, r.in)
			if err != nil {
				t.Fatal(err)
			}
			for _, to := range formats {
				d := serialize.NewDecoder(from, serialize.Limits{})
				var out []byte
				n := testing.AllocsPerRun(100, func() {
					m, err := d.Decode(wire)
					if err != nil {
						t.Fatal(err)
					}
					if out, err = serialize.Append(out[:0], to, r.out(m)); err != nil {
						t.Fatal(err)
					}
				})
				if n != 0 {
					t.Errorf("%s, %s to %s: %v allocations", r.name, from, to, n)
				}
			}
		}
	}
}

func TestEncodingGoValuesAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("allocations are not counted under the race detector")
	}
	ev := &wamp.Event{Subscription: 1, Publication: 2, Payload: samplePayload}
	for _, f := range formats {
		var out []byte
		n := testing.AllocsPerRun(100, func() {
			var err error
			if out, err = serialize.Append(out[:0], f, ev); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", f, n)
		}
	}
}

func TestDecoderStructsAreItsOwn(t *testing.T) {
	t.Parallel()
	wire := []byte(`[70,1,{}]`)
	a, b := serialize.NewDecoder(wamp.JSON, serialize.Limits{}), serialize.NewDecoder(wamp.JSON, serialize.Limits{})
	m1, _ := a.Decode(wire)
	m2, _ := a.Decode(wire)
	m3, _ := b.Decode(wire)
	if m1 != m2 || m1 == m3 {
		t.Error("structs are not used again, or shared")
	}
}
