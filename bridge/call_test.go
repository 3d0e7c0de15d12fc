package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gantry/bridge"
	"gantry/wamp"
)

// callee is a session of which only calls are used: it answers them itself.
type callee struct {
	wamp.Session
	serve func(procedure wamp.URI, args wamp.Payload) (wamp.Payload, error)

	mu    sync.Mutex // guards calls
	calls []string
}

func (s *callee) CallProgress(_ context.Context, procedure wamp.URI, opts wamp.CallOptions, p wamp.Payload, progress func(wamp.Payload)) (wamp.Payload, error) {
	s.mu.Lock()
	s.calls = append(s.calls, string(procedure)+" "+text(p))
	s.mu.Unlock()
	if opts.ReceiveProgress {
		progress(wamp.Args("half"))
	}
	return s.serve(procedure, p)
}

// calling runs a caller of one rule. Its clock is that of the bubble.
func calling(t *testing.T, rule bridge.CallConfig, serve func(wamp.URI, wamp.Payload) (wamp.Payload, error)) (c *bridge.Caller, s *callee, rules *bridge.Rules, answers func() []string) {
	t.Helper()
	o, err := bridge.NewOrigin(bridge.OriginConfig{Gateway: "gw", Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	if rules, err = bridge.NewRules(bridge.RulesConfig{Call: []bridge.CallConfig{rule}}, o, nil); err != nil {
		t.Fatal(err)
	}
	if serve == nil {
		serve = func(wamp.URI, wamp.Payload) (wamp.Payload, error) { return wamp.Args(int64(7)), nil }
	}
	s = &callee{serve: serve}
	var mu sync.Mutex
	var sent []string
	c = rules.NewCaller(s, func(_ context.Context, m bridge.Message) error {
		mu.Lock()
		defer mu.Unlock()
		sent = append(sent, m.Topic+" "+string(m.Payload))
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { _ = c.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return c, s, rules, func() []string { mu.Lock(); defer mu.Unlock(); return sent }
}

// outcomes are the counts that are not 0.
func outcomes(r *bridge.Rules) string {
	var out []string
	r.Stats().Calls.Each(func(o string, n uint64) {
		if n > 0 {
			out = append(out, fmt.Sprint(o, " ", n))
		}
	})
	return strings.Join(out, ", ")
}

func TestCallsOfMessages(t *testing.T) {
	t.Parallel()
	set := bridge.CallConfig{Topic: "cmd/{dev}/{point}", Procedure: "set.{dev}.{point}"}
	edit := func(f func(*bridge.CallConfig)) bridge.CallConfig {
		c := set
		f(&c)
		return c
	}
	at := func(d time.Duration) string { // the bubble begins in 2000
		return time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC).Add(d).Format(time.RFC3339)
	}
	timed := edit(func(c *bridge.CallConfig) { c.Time, c.Args, c.MaxAge = "at", []string{"v"}, 10*time.Second })
	byID := edit(func(c *bridge.CallConfig) {
		c.ID, c.Args, c.Response = "id", []string{"v"}, "reply/{dev}/{id}"
	})
	message := func(payload string) bridge.Message {
		return bridge.Message{Topic: "cmd/Lamp 1/state", Payload: []byte(payload)}
	}
	with := func(m bridge.Message, f func(*bridge.Message)) bridge.Message { f(&m); return m }
	retained := func(m *bridge.Message) { m.Retained = true }
	queued := func(m *bridge.Message) { m.Queued = true }
	again := func(m *bridge.Message) { m.Again = true }
	for _, c := range []struct {
		name     string
		rule     bridge.CallConfig
		messages []bridge.Message
		calls    string
		outcomes string
		answers  string
	}{
		{"the payload is the argument", set, []bridge.Message{message("ON")}, "gantry.gw.set.lamp_1.state ON", "made 1", ""},
		{"or says what they are", set, []bridge.Message{message(`{"args":[1,[2]],"kwargs":{"a":"b"}}`)},
			`gantry.gw.set.lamp_1.state {"args":[1,[2]],"kwargs":{"a":"b"}}`, "made 1", ""},
		{"arguments by path and by topic", edit(func(c *bridge.CallConfig) {
			c.Procedure, c.Args, c.Kwargs = "house.{dev}.x", []string{"a.0", "{point}", "o"}, map[string]string{"k": "b"}
		}), []bridge.Message{message(`{"a":[1.5],"b":true,"o":{"x":[1]}}`)}, `house.lamp_1.x {"args":[1.5,"state",{"x":[1]}],"kwargs":{"k":true}}`, "made 1", ""},
		{"values and regex", edit(func(c *bridge.CallConfig) {
			c.Topic, c.Regex, c.Procedure = "cmd/#", "/(?P<p>[a-z]+)$", "do.lamp.{p}"
			c.Args, c.Values = []string{""}, map[string]any{"ON": true, "1": int64(5)}
		}), []bridge.Message{message("ON"), message("1"), message("off")}, "gantry.gw.do.lamp.state true; gantry.gw.do.lamp.state 5", "made 2, malformed 1", ""},
		{"an empty message", edit(func(c *bridge.CallConfig) { c.Procedure = "do.{dev}.{point}" }), []bridge.Message{message("")}, "gantry.gw.do.lamp_1.state ", "made 1", ""},
		{"a type", edit(func(c *bridge.CallConfig) { c.Args, c.Type = []string{""}, "float" }), []bridge.Message{message("2"), message("x")},
			"gantry.gw.set.lamp_1.state 2.0", "made 1, malformed 1", ""},
		{"retained", set, []bridge.Message{with(message("ON"), retained)}, "", "retained 1", ""},
		{"queued", set, []bridge.Message{with(message("ON"), queued), with(message("ON"), again)}, "", "queued 2", ""},
		{"queued, and allowed", edit(func(c *bridge.CallConfig) { c.IgnoreQueued = ptr(false) }), []bridge.Message{with(message("ON"), queued), with(message("ON"), again)},
			"gantry.gw.set.lamp_1.state ON", "made 1, repeated 1", ""},
		{"with its time", timed, []bridge.Message{
			with(message(`{"v":1,"at":"`+at(-9*time.Second)+`"}`), queued), message(`{"v":2,"at":"` + at(-11*time.Second) + `"}`),
			message(`{"v":3,"at":"` + at(11*time.Second) + `"}`), message(`{"v":4}`), with(message(`{"v":5,"at":"`+at(0)+`"}`), retained),
		}, "gantry.gw.set.lamp_1.state 1", "made 1, retained 1, old 2, undated 1", ""},
		{"with its time, and again", timed, []bridge.Message{
			message(`{"v":1,"at":"` + at(0) + `"}`), with(message(`{"v":1,"at":"`+at(0)+`"}`), again), message(`{"v":1,"at":"` + at(0) + `"}`),
			with(message(`{"v":2,"at":"`+at(time.Second)+`"}`), again), with(message(`{"v":3,"at":"`+at(-time.Second)+`"}`), again),
		}, "gantry.gw.set.lamp_1.state 1; gantry.gw.set.lamp_1.state 2", "made 2, repeated 3", ""},
		{"with an identifier", byID, []bridge.Message{message(`{"v":1,"id":"a"}`), message(`{"v":2,"id":"a"}`), message(`{"v":3,"id":4}`), message(`{"v":5}`)},
			"gantry.gw.set.lamp_1.state 1; gantry.gw.set.lamp_1.state 3", "made 2, repeated 1, malformed 1",
			`reply/Lamp 1/a {"args":["half"],"id":"a","progress":true}; reply/Lamp 1/a {"args":[7],"id":"a"}; ` +
				`reply/Lamp 1/4 {"args":["half"],"id":"4","progress":true}; reply/Lamp 1/4 {"args":[7],"id":"4"}`},
		{"another topic", set, []bridge.Message{{Topic: "cmd/x"}}, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Hour)
				caller, s, rules, answers := calling(t, c.rule, nil)
				for _, m := range c.messages {
					caller.Take(m)
				}
				synctest.Wait()
				if got := strings.Join(s.calls, "; "); got != c.calls {
					t.Errorf("calls %s\nwant  %s", got, c.calls)
				}
				if got := outcomes(rules); got != c.outcomes {
					t.Errorf("%s, want %s", got, c.outcomes)
				}
				if got := strings.Join(answers(), "; "); got != c.answers {
					t.Errorf("answers %s\nwant    %s", got, c.answers)
				}
			})
		})
	}
}

// TestCallFails tells why, by the response.
func TestCallFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rule := bridge.CallConfig{Topic: "cmd/+", Procedure: "set.a.b", Response: "reply", Args: []string{"v"}}
		c, _, rules, answers := calling(t, rule, func(wamp.URI, wamp.Payload) (wamp.Payload, error) {
			return wamp.Payload{}, wamp.NewError(wamp.ErrURIOutOfRange, "too much", wamp.Dict{"max": int64(5)})
		})
		c.Take(bridge.Message{Topic: "cmd/x", Payload: []byte(`{"v":9}`)})
		c.Take(bridge.Message{Topic: "cmd/x", Payload: []byte(`{}`)})
		synctest.Wait()
		want := []string{
			`reply {"args":["half"],"progress":true}`,
			`reply {"args":["too much"],"error":"gantry.error.out_of_range","kwargs":{"max":5}}`,
			`reply {"args":["args[0] is missing"],"error":"wamp.error.invalid_argument"}`,
		}
		if got := answers(); !slices.Equal(got, want) || outcomes(rules) != "failed 1, malformed 1" {
			t.Errorf("%s\n%q", outcomes(rules), got)
		}
	})
}

// TestCallsTakeTurns: in order for each procedure, bounded, and none that waited too long.
func TestCallsTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rule := bridge.CallConfig{Topic: "cmd/{p}", Procedure: "set.a.{p}", Timeout: 10 * time.Second}
		c, s, rules, _ := calling(t, rule, func(p wamp.URI, _ wamp.Payload) (wamp.Payload, error) {
			if p == "gantry.gw.set.a.slow" {
				time.Sleep(4 * time.Second)
			}
			return wamp.Payload{}, nil
		})
		for i := range 70 {
			c.Take(bridge.Message{Topic: "cmd/slow", Payload: fmt.Append(nil, i)})
		}
		synctest.Wait()
		if got := outcomes(rules); got != "busy 6" {
			t.Error(got)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if got := strings.Join(s.calls, " "); got != "gantry.gw.set.a.slow 0 gantry.gw.set.a.slow 1 gantry.gw.set.a.slow 2" {
			t.Error(got)
		}
		c.Take(bridge.Message{Topic: "cmd/fast", Payload: []byte("1")})
		synctest.Wait()
		if got := outcomes(rules); got != "made 4, old 61, busy 6" {
			t.Error(got)
		}
	})
}

// TestRepeatedCallsAreBounded forgets the oldest identifiers.
func TestRepeatedCallsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s, rules, _ := calling(t, bridge.CallConfig{Topic: "cmd", Procedure: "do.a.b", ID: "id"}, nil)
		for i := range 5000 {
			c.Take(bridge.Message{Topic: "cmd", Payload: fmt.Appendf(nil, `{"id":%d}`, i)})
			synctest.Wait()
		}
		for _, i := range []int{4999, 1000, 0} {
			c.Take(bridge.Message{Topic: "cmd", Payload: fmt.Appendf(nil, `{"id":%d}`, i)})
		}
		synctest.Wait()
		if got := outcomes(rules); got != "made 5001, repeated 2" || len(s.calls) != 5001 {
			t.Error(got)
		}
	})
}

func TestCallConfigErrors(t *testing.T) {
	t.Parallel()
	for key, edit := range map[string]func(*bridge.RulesConfig, *bridge.CallConfig){
		"topic":         func(_ *bridge.RulesConfig, c *bridge.CallConfig) { c.Topic = "a/#/b" },
		"regex":         func(_ *bridge.RulesConfig, c *bridge.CallConfig) { c.Regex = "(" },
		"procedure":     func(_ *bridge.RulesConfig, c *bridge.CallConfig) { c.Procedure = "gantry.gw.sys.config.set" },
		"procedure ":    func(_ *bridge.RulesConfig, c *bridge.CallConfig) { c.Procedure = "{x}.b.c" },
		"procedure  ":   func(_ *bridge.RulesConfig, c *bridge.CallConfig) { c.Procedure = "set.A.b" },
		"procedure   ":  func(_ *bridge.RulesConfig, c *bridge.CallConfig) { c.Procedure = "set.a.{y}" },
		"procedure    ": func(_ *bridge.RulesConfig, c *bridge.CallConfig) { c.Procedure = "wamp.session.kill" },
		"args[1]":       func(_ *bridge.RulesConfig, c *bridge.CallConfig) { c.Args = []string{"a", "b|c"} },
		"kwargs.k":      func(_ *bridge.RulesConfig, c *bridge.CallConfig) { c.Kwargs = map[string]string{"k": "{y}"} },
		"type":          func(_ *bridge.RulesConfig, c *bridge.CallConfig) { c.Type = "int" },
		"type ":         func(_ *bridge.RulesConfig, c *bridge.CallConfig) { c.Type, c.Args = "x", []string{""} },
		"values":        func(_ *bridge.RulesConfig, c *bridge.CallConfig) { c.Values = map[string]any{"a": true} },
		"values.a": func(_ *bridge.RulesConfig, c *bridge.CallConfig) {
			c.Values, c.Args = map[string]any{"a": []any{}}, []string{""}
		},
		"time":      func(_ *bridge.RulesConfig, c *bridge.CallConfig) { c.Time = "a.#" },
		"max_age":   func(_ *bridge.RulesConfig, c *bridge.CallConfig) { c.MaxAge = time.Minute },
		"max_age ":  func(_ *bridge.RulesConfig, c *bridge.CallConfig) { c.MaxAge, c.Time = time.Millisecond, "at" },
		"id":        func(_ *bridge.RulesConfig, c *bridge.CallConfig) { c.ID = "$" },
		"timeout":   func(_ *bridge.RulesConfig, c *bridge.CallConfig) { c.Timeout = -1 },
		"qos":       func(_ *bridge.RulesConfig, c *bridge.CallConfig) { c.QoS = ptr[uint8](3) },
		"response":  func(_ *bridge.RulesConfig, c *bridge.CallConfig) { c.Response = "b/{id}" },
		"response ": func(_ *bridge.RulesConfig, c *bridge.CallConfig) { c.Response = "cmd/{x}" },
		"topic ": func(r *bridge.RulesConfig, _ *bridge.CallConfig) {
			r.Command = []bridge.CommandConfig{{Procedure: "set.a.b", Topic: "cmd/lamp"}}
		},
	} {
		r := bridge.RulesConfig{}
		c := bridge.CallConfig{Topic: "cmd/{x}", Procedure: "set.a.{x}"}
		edit(&r, &c)
		r.Call = []bridge.CallConfig{c}
		var bad *bridge.ConfigError
		if want := "call[0]." + strings.TrimSpace(key); !errors.As(r.Validate(), &bad) || bad.Key != want || bad.Allowed == "" {
			t.Errorf("%s: %v", want, r.Validate())
		}
	}
}

// FuzzCalls hands any message to rules of every kind: what is called has a name, and
// arguments that every serializer can carry.
func FuzzCalls(f *testing.F) {
	f.Add("cmd/lamp 1/x", `{"v":[1],"at":946684800,"id":"x"}`)
	f.Add("cmd//", "\x00")
	f.Fuzz(func(t *testing.T, topic, payload string) {
		if bridge.CheckTopic(topic) != nil {
			return
		}
		rules, err := bridge.NewRules(bridge.RulesConfig{Call: []bridge.CallConfig{
			{Topic: "#", Procedure: "set.a.b"},
			{Topic: "cmd/{d}/{p}", Procedure: "do.{d}.{p}", Args: []string{"v", "{d}"}, Kwargs: map[string]string{"w": "$"}, ID: "id"},
			{Topic: "cmd/#", Regex: "^cmd/(?P<d>.*)$", Procedure: "x.{d}", Args: []string{""}, Type: "float", Time: "at", MaxAge: time.Hour},
		}}, origin(t, 0), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, finding := range rules.Explain(bridge.Message{Topic: topic, Payload: []byte(payload)}) {
			for _, call := range finding.Readings {
				if !call.Topic.Valid(false, wamp.MatchExact) {
					t.Fatalf("%q", call.Topic)
				}
				text(call.Payload)
				if _, err := bridge.AppendMQTT(nil, call.Payload); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
