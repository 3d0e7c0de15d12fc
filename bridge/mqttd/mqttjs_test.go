package mqttd_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gantry/bridge/mqttd"
	"gantry/internal/mqttjs"
	"gantry/wamp/websocket"
)

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

// TestMQTTJS has the client of the JavaScript world go through internal/mqttjs/js/cases.js.
func TestMQTTJS(t *testing.T) {
	t.Parallel()
	for name, version := range map[string]string{"3.1.1": "4", "5": "5"} {
		for _, scheme := range []string{"TCP", "WebSocket"} {
			t.Run(name+" over "+scheme, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, mqttd.Config{}, false)
				url := "mqtt://" + w.addr
				if scheme == "WebSocket" {
					url = w.webSocket(t)
				}
				mqttjs.Run(t, "cases.js", url, version)
			})
		}
	}
}
