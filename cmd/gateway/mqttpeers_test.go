package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"gantry/internal/chromium"
	"gantry/internal/mosquitto"
	"gantry/internal/mqttjs"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/serialize"
)

// requestConfig has rules for TestMQTTRequests.
const requestConfig = `schema = 1
gateway.name = "gw"
[mqtt]
listen = "127.0.0.1:0"
[[mqtt.map]]
topic = "weather/{station}"
device = "wx_{station}"
points = { temp = { path = "t", unit = "Cel" } }
[[mqtt.call]]
topic = "cmd/{dev}/{what}"
procedure = "house.{dev}.{what}"
args = ["value"]
id = "id"
response = "done/{dev}/{id}"
[[mqtt.command]]
procedure = "set.lamp.state"
topic = "lamp/set"
payload = '{"state":"{value}","id":{id:json}}'
values = { true = "ON", false = "OFF" }
[mqtt.command.response]
topic = "lamp/done"
id = "id"
result = "state"
error_if = { failed = true }
error = "why"
timeout = "20s"
`

// registerHouse registers the procedures that TestMQTTRequests asks.
func registerHouse(t *testing.T, s *client.Session) {
	t.Helper()
	level := func(_ context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
		args, kwargs, err := serialize.Values(inv.Payload)
		if err != nil || len(args) != 1 {
			return wamp.Payload{}, fmt.Errorf("%v, %w", args, err)
		}
		n, ok := args[0].(int64)
		switch {
		case !ok:
			return wamp.Payload{}, wamp.NewError(wamp.ErrURIInvalidArgument, "no number", nil)
		case n > 50:
			return wamp.Payload{}, wamp.NewError("gantry.error.out_of_range", "too much", nil)
		}
		plus, _ := kwargs["plus"].(int64)
		return wamp.Args(2*n + plus), nil
	}
	fade := func(_ context.Context, inv *wamp.Invocation, progress func(wamp.Payload) error) (wamp.Payload, error) {
		args, _, _ := serialize.Values(inv.Payload)
		for i := range args[0].(int64) {
			if err := progress(wamp.Args(i + 1)); err != nil {
				return wamp.Payload{}, err
			}
		}
		return wamp.Args("done"), nil
	}
	relay := func(ctx context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
		return s.Call(ctx, "gantry.gw.set.lamp.state", wamp.CallOptions{}, inv.Payload)
	}
	for uri, f := range map[wamp.URI]wamp.InvocationHandler{"house.lamp.level": level, "house.lamp.fade": fade, "house.lamp.relay": relay} {
		if _, err := s.Register(t.Context(), uri, wamp.RegisterOptions{}, f); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMQTTRequests has MQTT clients of others ask procedures, by their topics and by rules,
// and a procedure ask an MQTT client.
func TestMQTTRequests(t *testing.T) {
	t.Parallel()
	p := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": requestConfig}), t.TempDir())
	registerHouse(t, p.join())
	t.Run("MQTT.js", func(t *testing.T) { mqttjs.Run(t, "requests.js", "mqtt://"+p.mqtt) })
	for _, c := range []struct{ args, topic, want string }{
		{"-t house/lamp/level -m 21", "reply/rr", "||42"},
		{"-t house/lamp/level -m 21 -q 2 -D publish correlation-data seven", "reply/rr", "|seven|42"},
		{"-t house/lamp/level -m 100 -q 1", "reply/rr", "error:gantry.error.out_of_range||too much"},
		{`-t cmd/lamp/level -m {"id":"rr1","value":21} -q 1 -D publish content-type text/json`, "done/lamp/rr1", `||{"args":[42],"id":"rr1"}`},
		{`-t cmd/lamp/level -m {"id":"rr2","value":100} -V mqttv311`, "done/lamp/rr2", `||{"args":["too much"],"error":"gantry.error.out_of_range","id":"rr2"}`},
	} {
		t.Run("mosquitto_rr "+c.args, func(t *testing.T) {
			path := mosquitto.Need(t, "mosquitto_rr", "mosquitto-clients")
			host, port, _ := net.SplitHostPort(p.mqtt)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			args := append([]string{"-h", host, "-p", port, "-e", c.topic, "-F", "%t|%P|%D|%p"}, strings.Fields(c.args)...)
			out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
			if got, want := strings.TrimSpace(string(out)), c.topic+"|"+c.want; err != nil || got != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		})
	}
}

// browserPage has MQTT.js as its only script.
const browserPage = `<!doctype html><title>MQTT</title><script src="mqtt.js"></script>`

// TestMQTTInABrowser has a web page use MQTT.js over the WebSocket of the gateway's port,
// and another page, of an origin that is not allowed, try.
func TestMQTTInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser takes its time")
	}
	t.Parallel()
	script := mqttjs.Browser(t)
	pages := func() *httptest.Server {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/mqtt.js" {
				http.ServeFile(w, r, script)
				return
			}
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(browserPage))
		}))
		t.Cleanup(srv.Close)
		return srv
	}
	allowed, foreign := pages(), pages()
	p := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": fmt.Sprintf(`schema = 1
gateway.name = "gw"
listen.origins = [%q]
[mqtt]
listen = "127.0.0.1:0"
`, allowed.URL)}), t.TempDir())
	s := p.join()
	if err := s.Publish(t.Context(), "page.kept", wamp.PublishOptions{Acknowledge: true, Retain: true}, wamp.Args(21.5)); err != nil {
		t.Fatal(err)
	}
	said := make(chan any, 4)
	if _, err := s.Subscribe(t.Context(), "page.said", wamp.SubscribeOptions{}, func(ev *wamp.Event) {
		args, _, _ := serialize.Values(ev.Payload)
		said <- args[0]
	}); err != nil {
		t.Fatal(err)
	}
	url := strings.TrimSuffix(p.url, "/ws") + "/mqtt"
	page := chromium.Open(t, allowed.URL)
	page.Until(`mqtt.connect`)
	for _, version := range []int{4, 5} {
		page.Eval(fmt.Sprintf(`(async () => {
			window.got = []
			window.client = await mqtt.connectAsync(%q, { protocolVersion: %d, reconnectPeriod: 0 })
			client.on("message", (topic, payload, packet) => got.push([topic, payload.toString(), packet.retain].join()))
			await client.subscribeAsync("page/#", { qos: 1 })
			await client.publishAsync("page/said", "hello %d", { qos: 2 })
		})()`, url, version, version))
		page.Until(fmt.Sprintf(`got.includes("page/kept,21.5,true") && got.includes("page/said,hello %d,false")`, version))
		if got, want := <-said, fmt.Sprint("hello ", version); got != want {
			t.Errorf("a WAMP session got %v, want %q", got, want)
		}
		page.Eval(`client.endAsync()`)
	}

	knock := func(want string) {
		t.Helper()
		for _, door := range [][2]string{{p.url, "wamp.2.json"}, {url, "mqtt"}} {
			got := page.Eval(fmt.Sprintf(`new Promise((done) => {
				const ws = new WebSocket(%q, [%q])
				ws.onopen = () => { ws.close(); done("open") }
				ws.onerror = () => done("refused")
			})`, door[0], door[1]))
			if got != want {
				t.Errorf("%s is %v, want %s", door[0], got, want)
			}
		}
	}
	knock("open")
	page = chromium.Open(t, foreign.URL)
	page.Until(`mqtt.connect`)
	knock("refused")
	got := page.Eval(fmt.Sprintf(`new Promise((done) => {
		const client = mqtt.connect(%q, { reconnectPeriod: 0 })
		client.on("connect", () => done("connected"))
		client.on("close", () => done("refused"))
	})`, url))
	if got != "refused" {
		t.Errorf("MQTT.js from another origin: %v", got)
	}
}
