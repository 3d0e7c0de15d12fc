package mqttd_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"gantry/bridge/mqttd"
	"gantry/internal/mosquitto"
	"gantry/wamp/interop"
	"gantry/wamp/websocket"
)

// needMQTTJS skips the test without MQTT.js, or fails it where peers are required.
func needMQTTJS(t *testing.T) (node string) {
	t.Helper()
	node = mosquitto.Need(t, "node", "nodejs")
	if _, err := os.Stat("testdata/js/node_modules/mqtt/package.json"); err != nil {
		interop.Missing(t, "MQTT.js is missing: npm ci in bridge/mqttd/testdata/js")
	}
	return node
}

// webSocket serves the listener on WebSockets and returns its URL.
func (w *world) webSocket(t *testing.T) string {
	t.Helper()
	up := &websocket.Server{Subprotocols: []string{"mqtt"}}
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if c, err := up.Upgrade(rw, r); err == nil {
			w.server.ServeConn(w.ctx, c.Stream(websocket.StreamBinary))
		}
	}))
	t.Cleanup(srv.Close)
	return "ws" + strings.TrimPrefix(srv.URL, "http")
}

// TestMQTTJS has the client of the JavaScript world go through testdata/js/cases.js.
func TestMQTTJS(t *testing.T) {
	t.Parallel()
	node := needMQTTJS(t)
	for name, version := range map[string]string{"3.1.1": "4", "5": "5"} {
		for _, scheme := range []string{"TCP", "WebSocket"} {
			t.Run(name+" over "+scheme, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, mqttd.Config{}, false)
				url := "mqtt://" + w.addr
				if scheme == "WebSocket" {
					url = w.webSocket(t)
				}
				runCases(t, exec.CommandContext(t.Context(), node, "testdata/js/cases.js", url, version))
			})
		}
	}
}

// runCases makes a test of each line that a program prints of its cases.
func runCases(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for sc := bufio.NewScanner(out); sc.Scan(); n++ {
		var line struct{ Name, Error string }
		if err := json.Unmarshal(sc.Bytes(), &line); err != nil {
			t.Errorf("%q: %v", sc.Text(), err)
			continue
		}
		t.Run(line.Name, func(t *testing.T) {
			if line.Error != "" {
				t.Error(line.Error)
			}
		})
	}
	if err := cmd.Wait(); err != nil || n == 0 {
		t.Errorf("%d cases, %v", n, err)
	}
}
