package main

import (
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
	"gantry/wamp/websocket"
)

// TestDevicesThatComeToTheGateway has one device post, one dial in, and one be told
// something, all on the gateway's one port.
func TestDevicesThatComeToTheGateway(t *testing.T) {
	t.Parallel()
	const secret = "correct horse"
	file := "file:" + filepath.Join(writeFiles(t, map[string]string{"secret": secret + "\n"}), "secret")
	dir := writeFiles(t, map[string]string{
		"gantry.toml": quietGateway,
		"devices.d/door.toml": `[device.door]
driver = "http"
hook = { secret = "` + file + `", parse = { json = true } }
[device.door.point.open]
from = "open"
type = "bool"
`,
		"devices.d/lamp.toml": `[device.lamp]
driver = "wsdev"
token = "` + file + `"
parse = { json = true }
reply = { id = "id", result = "now" }
[device.lamp.point.level]
from = "level"
unit = "%"
min = 0
max = 100
write = { template = '{"id":{id},"level":{value}}', timeout = "10s" }
`,
	})
	p := startProgram(t, dir, t.TempDir())
	s := p.join()
	seen := keep(t, s, "gantry.gw.", wamp.SubscribeOptions{GetRetained: true})
	is := func(topic string, value any) func(event) bool {
		return func(e event) bool { return e.topic == topic && e.value == value }
	}
	root := "http" + strings.TrimSuffix(strings.TrimPrefix(p.url, "ws"), "/ws")

	post := func(token, origin string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "POST", root+"/hook/door", strings.NewReader(`{"open":true}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		if origin != "" {
			req.Header.Set("Origin", origin)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	defer http.DefaultClient.CloseIdleConnections()
	if status, say := post("somebody else", ""); status != http.StatusUnauthorized {
		t.Errorf("a stranger: %d %s", status, say)
	}
	if status, say := post(secret, "https://elsewhere.example"); status != http.StatusForbidden {
		t.Errorf("a page of another host: %d %s", status, say)
	}
	if status, say := post(secret, ""); status != http.StatusOK || say != "ok\n" {
		t.Errorf("the device: %d %s", status, say)
	}
	seen.await(t, "the door", is("gantry.gw.point.door.open", true))
	seen.await(t, "its link", is("gantry.gw.state.door.link", "online"))

	dialer := websocket.Dialer{Header: http.Header{"Authorization": {"Bearer " + secret}}}
	lamp, err := dialer.Dial(t.Context(), strings.Replace(root, "http", "ws", 1)+"/dev/lamp")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lamp.Abandon() }()
	if err := lamp.Write(websocket.Text, []byte(`{"level":40}`)); err != nil {
		t.Fatal(err)
	}
	seen.await(t, "the lamp", is("gantry.gw.point.lamp.level", 40.0))
	told := make(chan string, 1)
	go func() {
		_, b, err := lamp.Read()
		told <- string(b)
		if err == nil {
			_ = lamp.Write(websocket.Text, []byte(`{"id":1,"now":75}`))
		}
	}()
	got, err := s.Call(t.Context(), "gantry.gw.set.lamp.level", wamp.CallOptions{}, wamp.Args(75.0))
	if err != nil {
		t.Fatal(err)
	}
	if args, _, err := serialize.Values(got); err != nil || len(args) != 1 || args[0] != 75.0 {
		t.Errorf("%v, %v", args, err)
	}
	if m := <-told; m != `{"id":1,"level":75}` {
		t.Errorf("the lamp was told %s", m)
	}
	_ = lamp.Close(websocket.CloseNormal, "")
	seen.await(t, "its end", is("gantry.gw.state.lamp.link", "offline"))
	// It comes back: while the device is being started anew it is told to try again.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for late := time.Now().Add(patience); ; <-tick.C {
		again, err := dialer.Dial(t.Context(), strings.Replace(root, "http", "ws", 1)+"/dev/lamp")
		if err == nil {
			defer func() { _ = again.Abandon() }()
			if err := again.Write(websocket.Text, []byte(`{"level":41}`)); err != nil {
				t.Fatal(err)
			}
			break
		}
		var refused *websocket.HandshakeError
		if !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable || time.Now().After(late) {
			t.Fatal(err)
		}
	}
	seen.await(t, "the lamp again", is("gantry.gw.point.lamp.level", 41.0))
	p.stop()
}
