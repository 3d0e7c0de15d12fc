package conformance_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gantry/wamp/websocket"
)

// patience is how long a program of other people may take.
const patience = 60 * time.Second

// outsider is a WebSocket library of other people, as a program in testdata.
type outsider struct {
	name    string
	command []string // up to the arguments
	probe   []string // fails when the library is not there
	missing string   // says what to install
}

// python is the interpreter that sees Debian's packages.
const python = "/usr/bin/python3"

func outsiders() []outsider {
	npm, _ := filepath.Abs("../../interop/js")
	return []outsider{
		{"ws", []string{"node", "testdata/echo_ws.mjs", npm}, []string{"node", "-e", `require(process.argv[1] + "/node_modules/ws")`, npm}, "npm package missing: ws"},
		{"autobahn", []string{python, "testdata/echo_autobahn.py"}, []string{python, "-c", "import autobahn.asyncio.websocket"}, "package missing: python3-autobahn"},
		{"websockets", []string{python, "testdata/echo_websockets.py"}, []string{python, "-c", "import websockets"}, "package missing: python3-websockets"},
	}
}

// need skips the test when the library is not installed, or fails where peers are
// required.
func (o outsider) need(t *testing.T) {
	t.Helper()
	if exec.Command(o.probe[0], o.probe[1:]...).Run() == nil {
		return
	}
	if os.Getenv("GANTRY_REQUIRE_PEERS") == "1" {
		t.Fatal(o.missing)
	}
	t.Skip(o.missing)
}

// deflateOptions are the parameters of compression that an outsider asks for.
type deflateOptions struct {
	ServerNoContextTakeover bool `json:"serverNoContextTakeover,omitempty"`
	ClientNoContextTakeover bool `json:"clientNoContextTakeover,omitempty"`
	ServerMaxWindowBits     int  `json:"serverMaxWindowBits,omitempty"`
	ClientMaxWindowBits     int  `json:"clientMaxWindowBits,omitempty"`
}

func (o *deflateOptions) String() string {
	if o == nil {
		return "no compression"
	}
	return fmt.Sprintf("%t %t %d %d", o.ServerNoContextTakeover, o.ClientNoContextTakeover, o.ServerMaxWindowBits, o.ClientMaxWindowBits)
}

// sizes are the lengths of the messages exchanged with outsiders.
var sizes = []int{0, 1, 2, 125, 126, 127, 1000, 4096, 65535, 65536, 65537, 100_000}

// served are the parameters that an outsider's servers ask for, one each, and driven
// those of its client's connections.
var (
	served = []*deflateOptions{
		nil, {}, {ClientNoContextTakeover: true}, {ServerNoContextTakeover: true, ClientNoContextTakeover: true},
		{ServerMaxWindowBits: 10}, {ClientMaxWindowBits: 10},
	}
	driven = []*deflateOptions{
		nil, {}, {ServerNoContextTakeover: true}, {ClientNoContextTakeover: true}, {ServerNoContextTakeover: true, ClientNoContextTakeover: true},
		{ServerMaxWindowBits: 9}, {ServerMaxWindowBits: 12}, {ServerMaxWindowBits: 15}, {ClientMaxWindowBits: 9}, {ClientMaxWindowBits: 15},
		{ServerNoContextTakeover: true, ClientNoContextTakeover: true, ServerMaxWindowBits: 10, ClientMaxWindowBits: 10},
	}
)

// start runs the program until the test ends and returns its output line by line.
func (o outsider) start(t *testing.T, url string) *bufio.Scanner {
	t.Helper()
	o.need(t)
	options, err := json.Marshal(map[string]any{"serve": served, "drive": driven, "sizes": sizes})
	if err != nil {
		t.Fatal(err)
	}
	all := append(append([]string{}, o.command...), string(options), url)
	cmd := exec.Command(all[0], all[1:]...)
	var said bytes.Buffer
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() {
		_ = in.Close()
		_, _ = io.Copy(io.Discard, out)
		err := cmd.Wait()
		late.Stop()
		if err != nil || t.Failed() {
			t.Errorf("%s: %v, said:\n%s", o.name, err, said.String())
		}
	})
	return bufio.NewScanner(out)
}

// TestOutsiders has other people's libraries speak with the server and the client.
func TestOutsiders(t *testing.T) {
	t.Parallel()
	for _, o := range outsiders() {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			said := o.start(t, serve(t, websocket.Config{PingInterval: -1, Deflate: true, DeflateFrom: 1}))
			said.Scan()
			ports := strings.Fields(said.Text())
			if len(ports) != len(served) {
				t.Fatalf("ports %q, expected %d", said.Text(), len(served))
			}
			for i, d := range served {
				t.Run("server "+d.String(), func(t *testing.T) { drive(t, "ws://127.0.0.1:"+ports[i], d != nil) })
			}
			for _, d := range driven {
				if said.Scan(); said.Text() != "ok" {
					t.Errorf("client %v: %q", d, said.Text())
				}
			}
		})
	}
}

// drive sends messages of all sizes to an echo and expects them back.
func drive(t *testing.T, url string, deflate bool) {
	t.Helper()
	c, err := (&websocket.Dialer{Config: websocket.Config{PingInterval: -1, Deflate: deflate, DeflateFrom: 1}}).Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(websocket.CloseNormal, "")
	if c.Deflated() != deflate {
		t.Errorf("compression is agreed on: %t, expected %t", c.Deflated(), deflate)
	}
	for _, n := range sizes {
		for _, op := range []websocket.Opcode{websocket.Text, websocket.Binary} {
			sent := bytes.Repeat([]byte("the quick brown fox "), n/20+1)[:n]
			if err := c.Write(op, sent); err != nil {
				t.Fatal(err)
			}
			gotOp, got, err := c.Read()
			if err != nil || gotOp != op || !bytes.Equal(got, sent) {
				t.Fatalf("%d octets of type %d came back as %d of type %d, %v", n, op, len(got), gotOp, err)
			}
		}
	}
}
