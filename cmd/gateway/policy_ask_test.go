package main

import (
	"context"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"gantry/internal/config"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
)

func TestReadAnswer(t *testing.T) {
	t.Parallel()
	yes := router.Answer{Allow: true}
	for name, c := range map[string]struct {
		p    wamp.Payload
		want router.Answer
		ok   bool
	}{
		"true":               {wamp.Args(true), yes, true},
		"false":              {wamp.Args(false), router.Answer{}, true},
		"nothing":            {wamp.Payload{}, router.Answer{}, false},
		"null":               {wamp.Args(nil), router.Answer{}, false},
		"text":               {wamp.Args("true"), router.Answer{}, false},
		"number":             {wamp.Args(1), router.Answer{}, false},
		"two":                {wamp.Args(true, true), router.Answer{}, false},
		"allow":              {wamp.Args(wamp.Dict{"allow": true}), yes, true},
		"deny, cached":       {wamp.Args(wamp.Dict{"allow": false, "cache": 2.5}), router.Answer{Cache: 2500 * time.Millisecond}, true},
		"cached as it comes": {wamp.Args(wamp.Dict{"allow": true, "cache": true}), router.Answer{Allow: true, Cache: router.MaxAnswerAge}, true},
		"not cached":         {wamp.Args(wamp.Dict{"allow": true, "cache": false}), yes, true},
		"cached for ever":    {wamp.Args(wamp.Dict{"allow": true, "cache": math.Inf(1)}), router.Answer{Allow: true, Cache: router.MaxAnswerAge}, true},
		"cached 60 s":        {wamp.Args(wamp.Dict{"allow": true, "cache": 60}), router.Answer{Allow: true, Cache: time.Minute}, true},
		"cached int64":       {wamp.Args(wamp.Dict{"allow": true, "cache": int64(60)}), router.Answer{Allow: true, Cache: time.Minute}, true},
		"cached uint64":      {wamp.Args(wamp.Dict{"allow": true, "cache": uint64(1) << 60}), router.Answer{Allow: true, Cache: router.MaxAnswerAge}, true},
		"cached back":        {wamp.Args(wamp.Dict{"allow": true, "cache": -1}), router.Answer{}, false},
		"cached NaN":         {wamp.Args(wamp.Dict{"allow": true, "cache": math.NaN()}), router.Answer{}, false},
		"cached text":        {wamp.Args(wamp.Dict{"allow": true, "cache": "1h"}), router.Answer{}, false},
		"disclosed":          {wamp.Args(wamp.Dict{"allow": true, "disclose": true}), router.Answer{Allow: true, Disclose: router.DiscloseAlways}, true},
		"undisclosed":        {wamp.Args(wamp.Dict{"allow": true, "disclose": false}), yes, true},
		"disclosed to whom":  {wamp.Args(wamp.Dict{"allow": true, "disclose": "all"}), router.Answer{}, false},
		"no allow":           {wamp.Args(wamp.Dict{"cache": true}), router.Answer{}, false},
		"allow text":         {wamp.Args(wamp.Dict{"allow": "yes"}), router.Answer{}, false},
		"allow null":         {wamp.Args(wamp.Dict{"allow": nil}), router.Answer{}, false},
		"keyword":            {wamp.Values(nil, wamp.Dict{"allow": true}), router.Answer{}, false},
	} {
		got, err := readAnswer(c.p)
		if got.Allow && err != nil || (err == nil) != c.ok || c.ok && got != c.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// judged is a gateway with sessions from outside at its Unix socket.
type judged struct {
	t       *testing.T
	gateway *Gateway
	url     string
	stop    func() // may be called twice
}

// startJudged runs a gateway in this process.
func startJudged(t *testing.T, file string) *judged {
	t.Helper()
	cfg, errs := config.Load(writeFiles(t, map[string]string{"gantry.toml": file}), kinds())
	if errs != nil {
		t.Fatal(errs)
	}
	g, err := NewGateway(Options{Config: cfg, State: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1) // the end of Run
	go func() { ran <- g.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("the gateway ended with %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-g.Ready():
	case err := <-ran:
		ran <- err
		t.Fatal(err)
	}
	return &judged{t: t, gateway: g, url: "rs+unix://" + g.Addresses().Unix, stop: stop}
}

func (j *judged) join() (*client.Session, error) {
	j.t.Helper()
	peer, err := transport.Dial(j.t.Context(), j.url, transport.DialConfig{})
	if err != nil {
		j.t.Fatal(err)
	}
	s, err := client.Join(j.t.Context(), peer, client.SessionConfig{Realm: "gantry"})
	if err == nil {
		j.t.Cleanup(func() { s.Close() })
	}
	return s, err
}

func TestGatewayKeepsToItsRoles(t *testing.T) {
	t.Parallel()
	j := startJudged(t, policyFile)
	s, err := j.join()
	if err != nil {
		t.Fatal(err)
	}
	if role := s.Welcome().Details["authrole"]; role != "viewer" {
		t.Errorf("anonymous clients are %v", role)
	}
	ctx := t.Context()
	if _, err := s.Subscribe(ctx, "gantry.gw.point.a.t", wamp.SubscribeOptions{}, func(*wamp.Event) {}); err != nil {
		t.Error(err)
	}
	if _, err := s.Subscribe(ctx, "gantry.", wamp.SubscribeOptions{Match: wamp.MatchPrefix}, func(*wamp.Event) {}); !wamp.IsError(err, wamp.ErrURINotAuthorized) {
		t.Error(err)
	}
	if _, err := s.Call(ctx, "wamp.session.list", wamp.CallOptions{}, wamp.Payload{}); !wamp.IsError(err, wamp.ErrURINotAuthorized) {
		t.Error(err)
	}
	// The rules speak, not the absence of the device.
	if _, err := s.Call(ctx, "gantry.gw.get.a.t", wamp.CallOptions{}, wamp.Payload{}); err == nil || wamp.IsError(err, wamp.ErrURINotAuthorized) {
		t.Error(err)
	}
	if err := s.Publish(ctx, "gantry.gw.point.a.t", wamp.PublishOptions{Acknowledge: true}, wamp.Payload{}); !wamp.IsError(err, wamp.ErrURINotAuthorized) {
		t.Error(err)
	}
}

func TestGatewayRefusesAnonymousWithoutTheirRole(t *testing.T) {
	t.Parallel()
	j := startJudged(t, "schema = 1\nmqtt.listen = \"\"\nlisten.http = \"\"\n[role.operator]\n")
	if _, err := j.join(); !wamp.IsError(err, wamp.ErrURINoSuchRole) {
		t.Errorf("got %v", err)
	}
}

// inside joins a component of the gateway's own process.
func (j *judged) inside() *client.Session {
	j.t.Helper()
	mine, routers := transport.Pipe(transport.PipeConfig{})
	var accepted sync.WaitGroup
	accepted.Go(func() { j.gateway.router.Accept(context.Background(), routers) })
	s, err := client.Join(j.t.Context(), mine, client.SessionConfig{Realm: "gantry", AuthID: "judge"})
	if err != nil {
		j.t.Fatal(err)
	}
	j.t.Cleanup(func() {
		s.Close()
		accepted.Wait()
	})
	return s
}

const judgedFile = `schema = 1
mqtt.listen = ""
listen.http = ""
listen.anonymous_role = "app"
[role.app]
authorizer = "auth.decide"
rules = [{ uri = "app.ruled", allow = ["publish"] }]
`

func TestGatewayAsksTheAuthorizer(t *testing.T) {
	t.Parallel()
	j := startJudged(t, judgedFile)
	s, err := j.join()
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	publish := func(topic wamp.URI) error {
		return s.Publish(ctx, topic, wamp.PublishOptions{Acknowledge: true}, wamp.Payload{})
	}
	if err := publish("app.yes"); !wamp.IsError(err, wamp.ErrURIAuthorizationFailed) {
		t.Errorf("without an authorizer: %v", err)
	}
	if err := publish("app.ruled"); err != nil {
		t.Error(err)
	}
	echo := func(_ context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
		return inv.Payload, nil
	}
	if _, err := s.Register(ctx, "auth.decide", wamp.RegisterOptions{}, echo); !wamp.IsError(err, wamp.ErrURINotAuthorized) {
		t.Errorf("who is judged may serve the authorizer: %v", err)
	}

	judge := j.inside()
	var mu sync.Mutex // guards asked
	var asked []string
	_, err = judge.Register(ctx, "auth.decide", wamp.RegisterOptions{}, func(ctx context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
		args, _, err := serialize.Values(inv.Payload)
		if err != nil || len(args) != 4 {
			return wamp.Payload{}, err
		}
		details, _ := args[0].(wamp.Dict)
		options, _ := args[3].(wamp.Dict)
		if details["authrole"] != "app" || details["authmethod"] != "anonymous" || details["realm"] != "gantry" || details["authid"] != s.Welcome().Details["authid"] {
			t.Errorf("asked about the session %v", details)
		}
		// What the judge does itself is not judged.
		if _, err := judge.Call(ctx, "wamp.session.count", wamp.CallOptions{}, wamp.Payload{}); err != nil {
			t.Error(err)
		}
		match, _ := options["match"].(string)
		mu.Lock()
		asked = append(asked, strings.TrimSpace(args[2].(string)+" "+args[1].(string)+" "+match))
		mu.Unlock()
		switch args[1] {
		case "app.yes", "gantry.":
			return wamp.Args(true), nil
		case "app.cached":
			return wamp.Args(wamp.Dict{"allow": true, "cache": 60}), nil
		case "app.strange":
			return wamp.Args("yes"), nil
		}
		return wamp.Args(wamp.Dict{"allow": false}), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := publish("app.cached"); err != nil {
			t.Error(err)
		}
	}
	if err := publish("app.yes"); err != nil {
		t.Error(err)
	}
	if err := publish("app.no"); !wamp.IsError(err, wamp.ErrURINotAuthorized) {
		t.Error(err)
	}
	if err := publish("app.strange"); !wamp.IsError(err, wamp.ErrURIAuthorizationFailed) {
		t.Error(err)
	}
	if _, err := s.Subscribe(ctx, "gantry.", wamp.SubscribeOptions{Match: wamp.MatchPrefix}, func(*wamp.Event) {}); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	want := "publish app.cached, publish app.yes, publish app.no, publish app.strange, subscribe gantry. prefix"
	if got := strings.Join(asked, ", "); got != want {
		t.Errorf("asked: %s\nwant: %s", got, want)
	}
}

// TestSilentAuthorizerHoldsNobodyUp has the gateway stop while a session waits,
// which it says was not in order when it takes too long.
func TestSilentAuthorizerHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	j := startJudged(t, strings.Replace(judgedFile, "rules =", "authorizer_timeout = \"1m\"\nrules =", 1))
	judge := j.inside()
	called := make(chan struct{}, 1) // by the handler
	_, err := judge.Register(t.Context(), "auth.decide", wamp.RegisterOptions{}, func(ctx context.Context, _ *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
		called <- struct{}{}
		<-ctx.Done()
		return wamp.Payload{}, ctx.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := j.join()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		// It waits until the gateway has stopped.
		_, _ = s.Call(context.Background(), "app.x", wamp.CallOptions{}, wamp.Payload{})
	}()
	<-called
	other, err := j.join()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Publish(t.Context(), "app.ruled", wamp.PublishOptions{Acknowledge: true}, wamp.Payload{}); err != nil {
		t.Error(err)
	}
	j.stop()
}
