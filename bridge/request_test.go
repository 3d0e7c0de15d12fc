package bridge_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gantry/bridge"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

// asked is a command whose device is a function: it is told of each message, and
// answers by rules.Answer.
type asked struct {
	rules *bridge.Rules
	call  wamp.InvocationHandler

	mu   sync.Mutex // guards sent
	sent []bridge.Message
}

func ask(t *testing.T, cfg bridge.CommandConfig, device func(rules *bridge.Rules, m bridge.Message)) *asked {
	t.Helper()
	a := &asked{}
	var err error
	if a.rules, err = bridge.NewRules(bridge.RulesConfig{Command: []bridge.CommandConfig{cfg}}, origin(t, 0), nil); err != nil {
		t.Fatal(err)
	}
	for _, a.call = range a.rules.Handlers(func(_ context.Context, m bridge.Message) error {
		a.mu.Lock()
		a.sent = append(a.sent, m)
		a.mu.Unlock()
		device(a.rules, m)
		return nil
	}) {
	}
	return a
}

// do calls it and returns result, progress and error as texts.
func (a *asked) do(ctx context.Context, kwargs wamp.Dict) string {
	var out []string
	res, err := a.call(ctx, &wamp.Invocation{Payload: wamp.Values(nil, kwargs)}, func(p wamp.Payload) error {
		out = append(out, "..."+text(p))
		return nil
	})
	var e *wamp.Error
	switch {
	case errors.As(err, &e):
		out = append(out, string(e.URI))
	case err != nil:
		out = append(out, err.Error())
	default:
		out = append(out, text(res))
	}
	return strings.Join(out, " ")
}

func text(p wamp.Payload) string {
	b, err := bridge.AppendMQTT(nil, p)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func field(m bridge.Message, name string) string {
	var o map[string]any
	_ = json.Unmarshal(m.Payload, &o)
	s, _ := o[name].(string)
	return s
}

func TestRequests(t *testing.T) {
	t.Parallel()
	byField := bridge.CommandConfig{
		Procedure: "do.z.join", Topic: "z/request/join", Payload: ptr(`{"time":{time},"transaction":{id:json}}`),
		Response: &bridge.ResponseConfig{
			Topic: "z/response/join", ID: "transaction", Result: "data", Timeout: time.Second,
			ProgressIf: map[string]any{"status": "progress"}, ErrorIf: map[string]any{"status": "error"}, Error: "error",
			CancelTopic: "z/cancel", CancelPayload: "{id}",
		},
	}
	byTopic := bridge.CommandConfig{
		Procedure: "do.z.read", Topic: "z/{reg}/read/{id}",
		Response: &bridge.ResponseConfig{Topic: "z/{reg}/answer/{id}", Timeout: time.Second},
	}
	inTurn := bridge.CommandConfig{
		Procedure: "do.z.ping", Topic: "z/ping", Payload: ptr("{n}"),
		Response: &bridge.ResponseConfig{Topic: "z/pong", Timeout: time.Second, LastIf: map[string]any{"last": true}, Result: "v"},
	}
	reply := func(rules *bridge.Rules, topic, payload string) {
		rules.Answer(bridge.Message{Topic: topic, Payload: []byte(payload)})
	}
	for _, c := range []struct {
		name   string
		cfg    bridge.CommandConfig
		kwargs wamp.Dict
		device func(rules *bridge.Rules, m bridge.Message)
		want   string
		sent   int
	}{
		{"by a field", byField, wamp.Dict{"time": int64(60)}, func(r *bridge.Rules, m bridge.Message) {
			reply(r, "z/response/join", `{"data":{"x":0},"transaction":"other"}`)
			reply(r, "z/response/join", `no JSON`)
			r.Answer(bridge.Message{Topic: "z/response/join", Payload: []byte(`{"data":{"x":1},"transaction":"` + field(m, "transaction") + `"}`), Retained: true})
			reply(r, "z/response/join", `{"data":{"x":2},"transaction":"`+field(m, "transaction")+`"}`)
		}, `{"x":2}`, 1},
		{"progress", byField, wamp.Dict{"time": int64(60)}, func(r *bridge.Rules, m bridge.Message) {
			for _, s := range []string{`"progress","data":1`, `"progress","data":2`, `"ok","data":3`} {
				reply(r, "z/response/join", `{"status":`+s+`,"transaction":"`+field(m, "transaction")+`"}`)
			}
		}, "...1 ...2 3", 1},
		{"a refusal", byField, wamp.Dict{"time": int64(60)}, func(r *bridge.Rules, m bridge.Message) {
			reply(r, "z/response/join", `{"status":"error","error":"no","transaction":"`+field(m, "transaction")+`"}`)
		}, "gantry.error.refused", 1},
		{"no answer", byField, wamp.Dict{"time": int64(60)}, func(*bridge.Rules, bridge.Message) {}, "gantry.error.timeout", 2},
		{"wrong arguments", byField, wamp.Dict{"time": int64(60), "id": "x"}, func(*bridge.Rules, bridge.Message) {}, "wamp.error.invalid_argument", 0},
		{"by the topic", byTopic, wamp.Dict{"reg": int64(7)}, func(r *bridge.Rules, m bridge.Message) {
			id := m.Topic[len("z/7/read/"):]
			reply(r, "z/8/answer/"+id, "8")
			reply(r, "z/7/answer/x", "9")
			reply(r, "z/7/answer/"+id, "7")
		}, "7", 1},
		{"in turn, until the last", inTurn, wamp.Dict{"n": int64(1)}, func(r *bridge.Rules, _ bridge.Message) {
			reply(r, "z/pong", `{"v":"a"}`)
			reply(r, "z/pong", `{"v":"b","last":true}`)
			reply(r, "z/pong", `{"v":"c","last":true}`) // nobody waits, or too late
		}, "...a b", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := ask(t, c.cfg, c.device)
				if got := a.do(t.Context(), c.kwargs); got != c.want || len(a.sent) != c.sent {
					t.Errorf("%s, and %d messages, want %s, %d", got, len(a.sent), c.want, c.sent)
				}
			})
		})
	}
}

// TestRequestIsCancelled tells the device, and makes room for the next one.
func TestRequestIsCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := ask(t, bridge.CommandConfig{
			Procedure: "do.z.flash", Topic: "z/flash", Payload: ptr("{n}"),
			Response: &bridge.ResponseConfig{Topic: "z/done", CancelTopic: "z/abort", CancelPayload: "{n}"},
		}, func(r *bridge.Rules, m bridge.Message) {
			if string(m.Payload) == "2" {
				go r.Answer(bridge.Message{Topic: "z/done", Payload: []byte("done")})
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		second := make(chan string)
		go func() {
			time.Sleep(time.Millisecond)
			second <- a.do(t.Context(), wamp.Dict{"n": int64(2)})
		}()
		if got := a.do(ctx, wamp.Dict{"n": int64(1)}); got != "wamp.error.canceled" {
			t.Error(got)
		}
		if got := <-second; got != "done" {
			t.Error(got)
		}
		var topics []string
		for _, m := range a.sent {
			topics = append(topics, m.Topic+" "+string(m.Payload))
		}
		if got := strings.Join(topics, ", "); got != "z/flash 1, z/abort 1, z/flash 2" {
			t.Error(got)
		}
		if a.rules.Answer(bridge.Message{Topic: "z/done", Payload: []byte("late")}) || a.rules.Stats().Unclaimed != 1 {
			t.Errorf("%+v", a.rules.Stats())
		}
	})
}

func TestResponseConfigErrors(t *testing.T) {
	t.Parallel()
	for key, edit := range map[string]func(*bridge.ResponseConfig){
		"topic":   func(r *bridge.ResponseConfig) { r.Topic = "a/#/b" },
		"topic ":  func(r *bridge.ResponseConfig) { r.Topic = "a/{other}" },
		"id":      func(r *bridge.ResponseConfig) { r.ID = "a.#" },
		"result":  func(r *bridge.ResponseConfig) { r.Result = "a|b" },
		"timeout": func(r *bridge.ResponseConfig) { r.Timeout = -time.Second },
		"qos":     func(r *bridge.ResponseConfig) { r.QoS = ptr[uint8](3) },
		"last_if": func(r *bridge.ResponseConfig) {
			r.LastIf, r.ProgressIf = map[string]any{"a": "b"}, map[string]any{"a": "b"}
		},
		"error_if.a":   func(r *bridge.ResponseConfig) { r.ErrorIf = map[string]any{"a": nil} },
		"cancel_topic": func(r *bridge.ResponseConfig) { r.CancelPayload = "x" },
	} {
		r := bridge.ResponseConfig{Topic: "a/{id}"}
		edit(&r)
		err := (&bridge.RulesConfig{Command: []bridge.CommandConfig{{Procedure: "do.a.b", Topic: "a", Response: &r}}}).Validate()
		var bad *bridge.ConfigError
		if want := "command[0].response." + strings.TrimSpace(key); !errors.As(err, &bad) || bad.Key != want || bad.Allowed == "" {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// FuzzAnswers hands any message to a waiting call.
func FuzzAnswers(f *testing.F) {
	f.Add(`{"id":"x","s":"e","r":[1]}`)
	f.Add("\x00")
	f.Fuzz(func(t *testing.T, payload string) {
		a := ask(t, bridge.CommandConfig{Procedure: "do.a.b", Topic: "a", Response: &bridge.ResponseConfig{
			Topic: "b", Timeout: time.Millisecond, Result: "r", ErrorIf: map[string]any{"s": "e"}, Error: "r", LastIf: map[string]any{"l": "x"},
		}}, func(r *bridge.Rules, _ bridge.Message) {
			r.Answer(bridge.Message{Topic: "b", Payload: []byte(payload)})
		})
		res, err := a.call(t.Context(), &wamp.Invocation{}, nil)
		if err == nil {
			if _, err := serialize.Encode(wamp.CBOR, res); err != nil {
				t.Fatalf("%q: %v", payload, err)
			}
		}
	})
}
