package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/auth"
	"gantry/wamp/client"
	"gantry/wamp/transport"
)

// TestLimitsOfTheConfigurationHold sets every deadline that ends something to a
// fraction of its default, and asks for more than the limits allow.
func TestLimitsOfTheConfigurationHold(t *testing.T) {
	t.Parallel()
	p := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": `schema = 1
mqtt.listen = ""
[listen]
unix = ""
challenge_timeout = "50ms"
message_timeout = "50ms"
[listen.long_poll]
wait = "50ms"
idle = "100ms"
[limits]
testaments = 1
testament_bytes = 1
description_bytes = 1
session_bytes = 1000
[user.ann]
role = "x"
password = "env:PASSWORD"
`}), t.TempDir(), "PASSWORD=secret")
	raw := "rs://" + strings.TrimSuffix(strings.TrimPrefix(p.url, "ws://"), "/ws")
	roles := wamp.Dict{"caller": wamp.Dict{}}

	slow := mustDial(t, raw)
	defer slow.Close()
	if err := slow.TrySend(&wamp.Hello{Realm: "gantry", Details: wamp.Dict{"roles": roles, "authid": "ann", "authmethods": wamp.List{auth.MethodCRA}}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []wamp.MessageType{wamp.TypeChallenge, wamp.TypeAbort} {
		if m, err := slow.Recv(); err != nil || m.Type() != want {
			t.Fatalf("in place of %s came %v, %v", want, m, err)
		}
	}

	s, err := client.Join(t.Context(), mustDial(t, raw), client.SessionConfig{Realm: "gantry"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	call := func(procedure wamp.URI, args ...any) error {
		_, err := s.Call(t.Context(), procedure, wamp.CallOptions{}, wamp.Args(args...))
		return err
	}
	testament := func(size int) error {
		return call("wamp.session.add_testament", "a.b", wamp.List{strings.Repeat("x", size)}, wamp.Dict{})
	}
	if err := testament(1000); !wamp.IsError(err, wamp.ErrURILimit) || !strings.Contains(err.Error(), "limits.testament_bytes") {
		t.Errorf("a testament over the session's share: %v", err)
	}
	if err := errors.Join(testament(10), testament(10)); !wamp.IsError(err, wamp.ErrURILimit) || !strings.Contains(err.Error(), "limits.testaments") {
		t.Errorf("a second testament: %v", err)
	}
	if err := call("wamp.reflect.define", "a.b", wamp.Dict{"text": strings.Repeat("x", 1000)}); !wamp.IsError(err, wamp.ErrURILimit) || !strings.Contains(err.Error(), "limits.description_bytes") {
		t.Errorf("a description over the session's share: %v", err)
	}
	if err := call("wamp.reflect.define", "a.b", wamp.Dict{}); err != nil {
		t.Errorf("a small description: %v", err)
	}

	unfinished := knockRaw(t, strings.TrimPrefix(raw, "rs://"))
	if _, err := io.WriteString(unfinished, "\x00\x00\x44\x00["); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, unfinished); err != nil {
		t.Errorf("a message that does not arrive: %v", err)
	}

	web := "http" + strings.TrimSuffix(strings.TrimPrefix(p.url, "ws"), "/ws") + "/lp/"
	post := func(path, body string) (*http.Response, string) {
		resp, err := http.Post(web+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(b)
	}
	_, answer := post("open", `{"protocols":["wamp.2.json"]}`)
	id := regexp.MustCompile(`"transport":"(\w+)"`).FindStringSubmatch(answer)
	began := time.Now()
	if resp, _ := post(id[1]+"/receive", ""); resp.StatusCode != http.StatusNoContent && resp.StatusCode != http.StatusNotFound || time.Since(began) > transport.DefaultLongPollWait {
		t.Errorf("a receive was answered by %s after %v", resp.Status, time.Since(began))
	}
}

// knockRaw joins by RawSocket with bytes of its own, and closes with the test.
func knockRaw(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	hello := `[1,"gantry",{"roles":{"caller":{}}}]`
	if _, err := io.WriteString(c, "\x7f\xf1\x00\x00\x00\x00\x00"+string(rune(len(hello)))+hello); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 9)); err != nil { // WELCOME begins
		t.Fatal(err)
	}
	return c
}
