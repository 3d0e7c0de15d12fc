package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"gantry/wamp"
)

// TestBadInputHarmsNobodyElse gives one gateway everything that goes wrong in
// the field at once, and watches a healthy device beside it.
func TestBadInputHarmsNobodyElse(t *testing.T) {
	t.Parallel()
	far, near, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	defer near.Close()
	config := writeFiles(t, map[string]string{
		"gantry.toml": `schema = 1
gateway.name = "field"
[mqtt]
listen = "127.0.0.1:0"
[[mqtt.map]]
topic = "sensors/{room}/climate"
device = "{room}"
point = "temperature"
path = "temperature"
`,
		"devices.d/good.toml":    "[device.good]\ndriver = \"sim\"\nperiod = \"20ms\"\n",
		"devices.d/typo.toml":    "[device.typo]\ndriver = \"sim\"\nperod = \"1s\"\n",
		"devices.d/type.toml":    "[device.type]\ndriver = \"sim\"\nperiod = 1\n",
		"devices.d/once.toml":    "[device.same]\ndriver = \"sim\"\n",
		"devices.d/twice.toml":   "[device.same]\ndriver = \"sim\"\n",
		"devices.d/driver.toml":  "[device.driver]\ndriver = \"simm\"\n",
		"devices.d/broken.toml":  "[device.broken\n",
		"devices.d/absent.toml":  "[device.absent]\ndriver = \"line\"\nport = { path = \"/dev/gantry-absent\" }\nparse = { json = true }\npoint.t = { from = \"t\" }\n",
		"devices.d/garbage.toml": "[device.garbage]\ndriver = \"line\"\nport = { path = \"" + near.Name() + "\" }\nparse = { json = true }\npoint.t = { from = \"t\" }\n",
	})
	field := startProgram(t, config, t.TempDir())
	s := field.join()
	seen := keep(t, s, "gantry.field.", wamp.SubscribeOptions{GetRetained: true})

	for _, want := range []string{
		`typo.toml:3: device.typo.perod: unknown key`,
		`type.toml:3: device.type.period: `,
		`twice.toml:1: device.same: device is defined twice`,
		`driver.toml:2: device.driver.driver: `,
		`broken.toml:1: `,
	} {
		if !strings.Contains(field.out.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	state := func(device, want string) {
		t.Helper()
		seen.await(t, device+" "+want, func(e event) bool {
			return e.topic == "gantry.field.state."+device+".link" && e.value == want
		})
	}
	state("absent", "offline")
	state("good", "online")

	state("garbage", "online")
	for range 20 {
		if _, err := io.WriteString(far, "\xff\x00{\"t\":\n\x80\x80\n{\"t\":\"warm\"}\n"); err != nil {
			t.Fatal(err)
		}
	}
	state("garbage", "degraded")

	// MQTT: a payload that is no JSON is a bad reading; bytes that are no MQTT end
	// their connection.
	field.command("mqtt", "publish", "--broker", field.mqtt, "--qos", "1", "sensors/hall/climate", `{"temperature":`)
	seen.await(t, "a bad reading", func(e event) bool {
		return e.topic == "gantry.field.point.hall.temperature" && e.value == nil && e.quality == "bad"
	})
	host := strings.TrimSuffix(strings.TrimPrefix(field.url, "ws://"), "/ws")
	for _, c := range []struct{ name, addr, bytes string }{
		{"mqtt, not CONNECT", field.mqtt, "\x30\x05\x00\x01a{}"},
		{"mqtt, a length without end", field.mqtt, "\x10\xff\xff\xff\xff\xff\xff"},
		{"mqtt, 256 MiB announced", field.mqtt, "\x10\xff\xff\xff\x7f"},
		{"rawsocket, a reserved frame type", host, "\x7f\xf1\x00\x00\x07\x00\x00\x04[1,2"},
		{"rawsocket, no WAMP", host, "\x7f\xf1\x00\x00\x00\x00\x00\x05hello"},
		{"rawsocket, 16 MiB announced", host, "\x7f\xf3\x00\x00\x00\xff\xff\xff"},
		{"rawsocket, deeply nested", host, "\x7f\xf1\x00\x00\x00\x00\x20\x00" + strings.Repeat("[", 0x2000)},
		{"http, no request", host, "\x16\x03\x01\x00\xa5\r\n\r\n"},
		{"websocket, no frames", host, "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: wamp.2.json\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"},
	} {
		conn, err := net.DialTimeout("tcp", c.addr, patience)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, c.bytes); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		// Whatever it answers, the gateway has to be the one that hangs up.
		if _, err := io.Copy(io.Discard, conn); err != nil && os.IsTimeout(err) {
			t.Errorf("%s: the connection stays open", c.name)
		}
		conn.Close()
	}

	// All that has been counted, and the healthy device went on.
	before := len(seen.all())
	seen.await(t, "more readings", func(e event) bool {
		return strings.HasPrefix(e.topic, "gantry.field.point.good.") && len(seen.all()) > before+10
	})
	metrics := get(t, "http://"+host+"/metrics")
	for _, want := range []string{
		`gantry_device_online{device="good",driver="sim"} 1`,
		`gantry_device_online{device="absent",driver="line"} 0`,
		`gantry_mqtt_ended_total{why="rejected"} `,
		`gantry_device_garbage_total{device="garbage"} `,
	} {
		if i := strings.Index(metrics, want); i < 0 || strings.HasPrefix(metrics[i+len(want):], "0\n") {
			t.Errorf("metrics do not say %s\n%s", want, metrics)
		}
	}
	field.stop()
}

func get(t testing.TB, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestStartFailsClearly runs gateways that cannot start.
func TestStartFailsClearly(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := writeFiles(t, map[string]string{"gantry.toml": "schema = 1\nmqtt.listen = \"\"\n"})
	bad := writeFiles(t, map[string]string{"gantry.toml": "schema = 1\n[gateway]\nnmae = \"x\"\n"})
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--config", good, "--listen", taken.Addr().String()}, exitFailed, "listen.http: listen tcp " + taken.Addr().String() + ": bind: address already in use"},
		{[]string{"--config", good, "--listen", "0.0.0.0:0"}, exitUsage, "anonymous"},
		{[]string{"--config", good, "--listen", "nonsense"}, exitUsage, "host:port"},
		{[]string{"--config", good, "--state", file}, exitFailed, "state directory"},
		{[]string{"--config", bad}, exitFailed, "gantry.toml:3: gateway.nmae: unknown key, did you mean name?; allowed: hub, name, realm"},
		{[]string{"--config", filepath.Join(good, "absent")}, exitFailed, "no such file"},
	} {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		cmd := exec.CommandContext(ctx, self, append([]string{"run", "--state", t.TempDir()}, c.args...)...)
		cmd.Env = append(os.Environ(), asProgram+"=1")
		out, err := cmd.CombinedOutput()
		cancel()
		if cmd.ProcessState.ExitCode() != c.code || !strings.Contains(string(out), c.want) {
			t.Errorf("%v: %v, %s", c.args, err, out)
		}
	}
}
