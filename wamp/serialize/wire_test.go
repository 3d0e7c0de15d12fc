package serialize_test

import (
	"bytes"
	"math"
	"reflect"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/tinylib/msgp/msgp"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

func ref[T any](v T) *T { return &v }

// wireMessages are the messages whose wire forms testdata/messages.txt has.
var wireMessages = map[string]wamp.Message{
	"HELLO": &wamp.Hello{Realm: "gantry", Details: wamp.Dict{"agent": "test", "roles": wamp.Dict{
		"caller": wamp.Dict{}, "publisher": wamp.Dict{"features": wamp.Dict{"publisher_exclusion": true}}}}},
	"WELCOME": &wamp.Welcome{Session: wamp.MaxID, Details: wamp.Dict{
		"authid": "anna", "roles": wamp.Dict{"broker": wamp.Dict{}, "dealer": wamp.Dict{}}}},
	"ABORT": &wamp.Abort{Details: wamp.Dict{"message": "no such realm"}, Reason: wamp.ErrURINoSuchRealm},
	"ABORT with arguments": &wamp.Abort{
		Reason: wamp.ErrURIProtocolViolation, Payload: wamp.Args("what", int64(1))},
	"CHALLENGE": &wamp.Challenge{AuthMethod: "wampcra", Extra: wamp.Dict{
		"challenge": `{"nonce":1}`, "iterations": int64(1000)}},
	"AUTHENTICATE": &wamp.Authenticate{Signature: "c2lnbmF0dXJl"},
	"GOODBYE":      &wamp.Goodbye{Reason: wamp.CloseURICloseRealm},
	"ERROR":        &wamp.ErrorReply{RequestType: wamp.TypeCall, Request: 7814135, URI: wamp.ErrURIBusy},
	"ERROR with all parts": &wamp.ErrorReply{
		RequestType: wamp.TypeInvocation, Request: 1, URI: wamp.ErrURIOutOfRange,
		Details: wamp.Dict{"trace": wamp.List{int64(1), int64(2)}},
		Payload: wamp.Values(wamp.List{"out of range"}, wamp.Dict{"min": int64(-40), "max": int64(100)}),
	},
	"PUBLISH": &wamp.Publish{Request: 1, Topic: "gantry.gw1.point.boiler.temperature"},
	"PUBLISH with a reading": &wamp.Publish{
		Request: 128, Topic: "gantry.gw1.point.boiler.temperature",
		Options: wamp.PublishOptions{Acknowledge: true, Retain: true},
		Payload: wamp.Values(wamp.List{21.5}, wamp.Dict{
			"q": "good", "ts": int64(1700000000000000), "unit": "Cel"}),
	},
	"PUBLISH with every option": &wamp.Publish{
		Request: 65536, Topic: "a.b",
		Options: wamp.PublishOptions{
			Acknowledge: true, IncludeMe: true, DiscloseMe: true, Retain: true, Unretain: true, RKey: "r",
			Filter: &wamp.PublishFilter{
				Exclude: []wamp.ID{1, wamp.MaxID}, Eligible: []wamp.ID{},
				ExcludeAuthID: []string{"a"}, EligibleAuthID: []string{"b", "ü"},
				ExcludeAuthRole: []string{}, EligibleAuthRole: []string{"c"},
			},
			Passthru: &wamp.Passthru{Scheme: "x_s", Serializer: "cbor", Cipher: "xsalsa20poly1305", KeyID: "k1"},
			Once:     &wamp.Once{Stream: "gw1/readings", Epoch: 3, Seq: math.MaxUint64},
		},
		Payload: wamp.Args([]byte{0, 0xff, 0xfe}),
	},
	"PUBLISH out of its stream's order": &wamp.Publish{
		Request: 1, Topic: "a.b",
		Options: wamp.PublishOptions{Acknowledge: true, Once: &wamp.Once{Stream: "s", Epoch: 1, Seq: 2, Again: true}},
	},
	"PUBLISHED": &wamp.Published{Request: 1<<32 - 1, Publication: 1 << 32},
	"SUBSCRIBE": &wamp.Subscribe{Request: 1, Topic: "a.b"},
	"SUBSCRIBE with every option": &wamp.Subscribe{Request: 255, Topic: "a..b", Options: wamp.SubscribeOptions{
		Match: wamp.MatchWildcard, GetRetained: true, NKey: "n"}},
	"SUBSCRIBED":   &wamp.Subscribed{Request: 127, Subscription: 256},
	"UNSUBSCRIBE":  &wamp.Unsubscribe{Request: 65535, Subscription: 5},
	"UNSUBSCRIBED": &wamp.Unsubscribed{Request: 9},
	"UNSUBSCRIBED as a revocation": &wamp.Unsubscribed{
		Subscription: 5, Reason: "wamp.subscription.revoked"},
	"EVENT": &wamp.Event{Subscription: 5, Publication: 6},
	"EVENT with every detail": &wamp.Event{
		Subscription: 5, Publication: 6,
		Details: wamp.EventDetails{
			Publisher: 77, PublisherAuthID: "anna", PublisherAuthRole: "admin", Topic: "a.x.b",
			Retained: true, Trustlevel: ref(uint32(0)), Passthru: &wamp.Passthru{Scheme: "mqtt"},
		},
		Payload: wamp.Values(wamp.List{}, wamp.Dict{"k": nil}),
	},
	"CALL": &wamp.Call{Request: 1, Procedure: "gantry.gw1.set.boiler.valve"},
	"CALL with every option": &wamp.Call{
		Request: 2, Procedure: "a.b",
		Options: wamp.CallOptions{
			Timeout: 5000, ReceiveProgress: true, Progress: true, DiscloseMe: true,
			RKey: "r", RunMode: "partition", Passthru: &wamp.Passthru{Scheme: "x_s"},
		},
		Payload: wamp.Values(wamp.List{true, false, nil, int64(-1), int64(-33), int64(-129), int64(-32769),
			int64(-2147483649)}, wamp.Dict{"least": int64(math.MinInt64)}),
	},
	"CANCEL":                   &wamp.Cancel{Request: 1},
	"CANCEL of the callee too": &wamp.Cancel{Request: 2, Mode: wamp.CancelKill},
	"RESULT":                   &wamp.Result{Request: 1},
	"RESULT with every detail": &wamp.Result{
		Request: 1,
		Details: wamp.ResultDetails{
			Progress: true, Callee: 9, CalleeAuthID: "b", CalleeAuthRole: "device",
			Passthru: &wamp.Passthru{Scheme: "x_s"},
		},
		Payload: wamp.Values(wamp.List{"text \"quoted\" \\ \n é 😀"},
			wamp.Dict{"a": wamp.Dict{"b": wamp.List{wamp.Dict{}}}}),
	},
	"REGISTER": &wamp.Register{Request: 1, Procedure: "a.b"},
	"REGISTER with every option": &wamp.Register{Request: 2, Procedure: "a", Options: wamp.RegisterOptions{
		Match: wamp.MatchPrefix, Invoke: wamp.InvokeRoundRobin, Concurrency: math.MaxUint32,
		DiscloseCaller: true, ForceReregister: true, ForwardTimeout: true}},
	"REGISTERED":                   &wamp.Registered{Request: 1, Registration: 2},
	"UNREGISTER":                   &wamp.Unregister{Request: 1, Registration: 2},
	"UNREGISTERED":                 &wamp.Unregistered{Request: 1},
	"UNREGISTERED as a revocation": &wamp.Unregistered{Registration: 3},
	"INVOCATION":                   &wamp.Invocation{Request: 1, Registration: 2},
	"INVOCATION with every detail": &wamp.Invocation{
		Request: 1, Registration: 2,
		Details: wamp.InvocationDetails{
			Caller: 4, CallerAuthID: "anna", CallerAuthRole: "admin", Procedure: "a.b.c", Timeout: 250,
			ReceiveProgress: true, Progress: true, Trustlevel: ref(uint32(math.MaxUint32)),
			Passthru: &wamp.Passthru{Scheme: "x_s"},
		},
		Payload: wamp.Values(wamp.List{int64(1)}, wamp.Dict{"b": []byte{}}),
	},
	"INTERRUPT":               &wamp.Interrupt{Request: 1, Mode: wamp.CancelSkip},
	"INTERRUPT with a reason": &wamp.Interrupt{Request: 1, Mode: wamp.CancelKill, Reason: wamp.ErrURICanceled},
	"YIELD":                   &wamp.Yield{Request: 1},
	"YIELD with every option": &wamp.Yield{
		Request: 1,
		Options: wamp.YieldOptions{Progress: true, Passthru: &wamp.Passthru{Scheme: "x_s", Serializer: "json"}},
		Payload: wamp.Args(0.1, 1e300, math.Copysign(0, -1), 1.0),
	},
}

func TestWireFormOfEveryMessage(t *testing.T) {
	t.Parallel()
	cases := wireCases(t)
	types := map[wamp.MessageType]bool{}
	for name, want := range wireMessages {
		types[want.Type()] = true
		for _, f := range formats {
			t.Run(name+" "+f.String(), func(t *testing.T) {
				t.Parallel()
				wire := cases[name][f]
				got, err := serialize.Append([]byte("before"), f, want)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, append([]byte("before"), wire...)) {
					t.Errorf("written\n%s\nwant\n%s", show(f, got[6:]), show(f, wire))
				}
				m, err := serialize.NewDecoder(f, serialize.Limits{}).Decode(wire)
				if err != nil {
					t.Fatal(err)
				}
				if d := diff(want, values(t, m)); d != "" {
					t.Error(d)
				}
				// The payload is spliced or transcoded now.
				for _, to := range formats {
					if got, err = serialize.Append(nil, to, m); err != nil {
						t.Fatal(err)
					}
					if wire := cases[name][to]; !bytes.Equal(got, wire) {
						t.Errorf("to %s\n%s\nwant\n%s", to, show(to, got), show(to, wire))
					}
				}
			})
		}
	}
	if len(cases) != len(wireMessages) || len(types) != 24 {
		t.Errorf("%d cases for %d messages of %d types", len(cases), len(wireMessages), len(types))
	}
}

// The bytes in testdata are read by other people's libraries too.
func TestWireFormsAgreeWithLibraries(t *testing.T) {
	t.Parallel()
	for name, forms := range wireCases(t) {
		want, err := serialize.ParseValue(wamp.JSON, forms[wamp.JSON], serialize.Limits{})
		if err != nil {
			t.Fatal(name, err)
		}
		var fromCBOR any
		if err := cborOracle.Unmarshal(forms[wamp.CBOR], &fromCBOR); err != nil {
			t.Fatal(name, err)
		}
		fromMsgPack, rest, err := msgp.ReadIntfBytes(forms[wamp.MsgPack])
		if err != nil || len(rest) > 0 {
			t.Fatal(name, err)
		}
		if d := diff(plain(want), plain(fromCBOR)); d != "" {
			t.Error(name, d)
		}
		if d := diff(plain(want), plain(fromMsgPack)); d != "" {
			t.Error(name, d)
		}
	}
}

// cborOracle is fxamacker's decoder with the rules of this package.
var cborOracle = func() cbor.DecMode {
	m, err := cbor.DecOptions{
		DefaultMapType: reflect.TypeFor[map[string]any](), MaxNestedLevels: 256, UTF8: cbor.UTF8RejectInvalid,
		UnrecognizedTagToAny: cbor.UnrecognizedTagContentToAny,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return m
}()

// plain gives the values of different libraries the same Go types: integers that
// are not negative are uint64, floats float64.
func plain(v any) any {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plain(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = plain(v[k])
		}
		return out
	case int64:
		if v >= 0 {
			return uint64(v)
		}
	case float32:
		return float64(v)
	case []byte:
		return string(v) + " in bytes" // msgp returns nil for none
	}
	return v
}

func TestAShareIsEncodedAsItsMessage(t *testing.T) {
	t.Parallel()
	ev := &wamp.Event{Subscription: 1, Publication: 2, Payload: wamp.Args("x")}
	for _, f := range formats {
		want, _ := serialize.Append(nil, f, ev)
		got, err := serialize.Append(nil, f, &wamp.Shared{Msg: ev})
		if err != nil || !bytes.Equal(got, want) {
			t.Error(f, err, show(f, got))
		}
	}
}
