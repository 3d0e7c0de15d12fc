package wsdev_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/wsdev"
	"gantry/internal/config"
	"gantry/wamp/websocket"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "correct horse"

// port is the gateway's port.
type port struct{ *drivertest.Port }

func newPort(t testing.TB) port { return port{drivertest.NewPort(t)} }

// url returns where devices dial in.
func (p port) url() string { return strings.Replace(p.URL, "http", "ws", 1) + "/dev/dev" }

// dial dials in as the device.
func (p port) dial(t testing.TB, header http.Header) (*websocket.Conn, error) {
	t.Helper()
	d := websocket.Dialer{Header: header}
	conn, err := d.Dial(t.Context(), p.url())
	if err == nil {
		t.Cleanup(func() { _ = conn.Abandon() })
	}
	return conn, err
}

var bearer = http.Header{"Authorization": {"Bearer " + token}}

// secretFile keeps the token and returns the reference to it.
func secretFile(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "file:" + file
}

// who replaces what says who is at the other end.
func who(t testing.TB, text, dialled string) string {
	t.Helper()
	if dialled != "" {
		return strings.Replace(text, "WHO", fmt.Sprintf("url = %q", dialled), 1)
	}
	return strings.Replace(text, "WHO", fmt.Sprintf("token = %q", secretFile(t)), 1)
}

func parse(t testing.TB, text string) wsdev.Config {
	t.Helper()
	var cfg wsdev.Config
	if err := config.Decode("test.toml", []byte(text), &cfg); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func newDriver(t testing.TB, text string, env drivers.Env) *wsdev.Driver {
	t.Helper()
	env.Device = "dev"
	d, err := wsdev.New(parse(t, text), env)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// thermostat is the device of the tests, in Go.
func thermostat(c *websocket.Conn) {
	defer func() { _ = c.Abandon() }()
	send := func(v any) {
		b, _ := json.Marshal(v)
		_ = c.Write(websocket.Text, b)
	}
	send(map[string]any{"type": "state", "t": 21.5, "text": "grün"})
	for {
		_, b, err := c.Read()
		if err != nil {
			return
		}
		var q struct {
			ID  any
			Set *float64
			Do  string
			To  float64
		}
		if json.Unmarshal(b, &q) != nil {
			continue
		}
		answer := map[string]any{"id": q.ID, "result": "counted"}
		switch {
		case q.Set != nil && (*q.Set < 5 || *q.Set > 30):
			delete(answer, "result")
			answer["error"] = "out of range"
		case q.Set != nil:
			answer["result"] = *q.Set
		case q.Do == "hang":
			continue
		default:
			for i := range int(q.To) {
				send(map[string]any{"type": "count", "n": i})
			}
		}
		send(answer)
	}
}

// serveThermostat returns the URL of a thermostat that is dialled.
func serveThermostat(t testing.TB, check func(*websocket.Handshake) error) string {
	t.Helper()
	return serve(t, check, thermostat)
}

// serve returns the URL of a device that is dialled.
func serve(t testing.TB, check func(*websocket.Handshake) error, device func(*websocket.Conn)) string {
	t.Helper()
	s := httptest.NewServer(&websocket.Server{Connect: check, Handle: func(c *websocket.Conn, _ *http.Request) { device(c) }})
	t.Cleanup(s.Close)
	return strings.Replace(s.URL, "http", "ws", 1)
}

// dialAgain has a device dial in, again and again until the test ends.
func (p port) dialAgain(t testing.TB, device func(*websocket.Conn)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var dialling sync.WaitGroup
	dialling.Go(func() {
		d := websocket.Dialer{Header: bearer}
		for tick := time.NewTicker(2 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			if c, err := d.Dial(ctx, p.url()); err == nil {
				stop := context.AfterFunc(ctx, func() { _ = c.Abandon() })
				device(c)
				stop()
			}
		}
	})
	t.Cleanup(func() { cancel(); dialling.Wait() })
}
