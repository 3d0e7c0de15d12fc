// Package examples runs the programs of this directory as a person would.
package examples

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gantry/wamp/interop"
	"gantry/wamp/websocket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a program may take.
const patience = 2 * time.Minute

// build compiles all programs and gantry, and returns the directory they are in.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir() + string(filepath.Separator)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "./...", "../../cmd/gateway")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

func TestExamples(t *testing.T) {
	t.Parallel()
	dir := build(t)
	t.Run("whole", func(t *testing.T) { testWhole(t, dir) })
	t.Run("servers", func(t *testing.T) { testServers(t, dir) })
	t.Run("serialport", func(t *testing.T) { testSerialPort(t, dir) })
}

// testWhole runs the programs that are both sides and end by themselves.
func testWhole(t *testing.T, dir string) {
	for name, want := range map[string]string{
		"tls":        "you came by TLS 1.3\ntrue\n",
		"compressed": "compression agreed on: true\nplain false: a tenth or less on the wire: true\nplain true: a tenth or less on the wire: false\n",
		"unixsocket": "hello over unix\n",
		"headers": "refused: 403 Forbidden (\"say the word\")\nserver sees visitor/1\nclient sees headers-example\n" +
			"server sees visitor/1\nserver sees the cookie visits=1\nclient sees headers-example\n",
		"proxy":     "the proxy answers 407\nyou found me <nil>\n",
		"streaming": "/whole: 64 MiB, 3b6a07d0...\n/frames: 64 frames, 1 sums\n",
		"ping": "server gets a ping: are you there?\n" + strings.Repeat("there and back in less than a minute: true\n", 3) +
			"server: the client has fallen silent\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			out, err := exec.CommandContext(ctx, filepath.Join(dir, name)).CombinedOutput()
			if err != nil || sorted(string(out)) != sorted(want) {
				t.Errorf("%v, output\n%s\nwant\n%s", err, out, want)
			}
		})
	}
}

// sorted makes nothing of the order in which two sides print.
func sorted(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		for j := i; j > 0 && lines[j] < lines[j-1]; j-- {
			lines[j], lines[j-1] = lines[j-1], lines[j]
		}
	}
	return strings.Join(lines, "\n")
}

// start runs a server until the test ends and returns the URL that it prints.
func start(t *testing.T, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	cmd := exec.CommandContext(ctx, program, args...)
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", program, err)
		}
		_ = w.Close()
		cancel()
	})
	lines := bufio.NewScanner(r)
	url := make(chan string, 1)
	go func() {
		for lines.Scan() {
			if m := regexp.MustCompile(`ws://[^ ,]+`).FindString(lines.Text()); m != "" {
				select {
				case url <- m:
				default:
				}
			}
		}
		close(url)
	}()
	u, ok := <-url
	if !ok {
		t.Fatal(program, "tells no URL")
	}
	return u
}

// dial connects until the test ends.
func dial(t *testing.T, url string) *websocket.Conn {
	t.Helper()
	c, err := (&websocket.Dialer{}).Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(websocket.CloseNormal, "") })
	return c
}

// get returns a page.
func get(t *testing.T, url string) string {
	t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	resp, err := http.Get(strings.Replace(url, "ws", "http", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// expect reads messages until one contains text.
func expect(t *testing.T, c *websocket.Conn, text string) {
	t.Helper()
	for {
		_, b, err := c.Read()
		if err != nil {
			t.Fatalf("no message with %q: %v", text, err)
		}
		if strings.Contains(string(b), text) {
			return
		}
	}
}

func testServers(t *testing.T, dir string) {
	url := start(t, filepath.Join(dir, "echo-server"), "-listen", "ws://127.0.0.1:0")
	client := exec.CommandContext(t.Context(), filepath.Join(dir, "echo-client"), "-url", url)
	client.Stdin = strings.NewReader("one\ntwo\n")
	if out, err := client.CombinedOutput(); err != nil || string(out) != "connected\none\ntwo\n" {
		t.Errorf("echo-client: %v, %s", err, out)
	}

	url = start(t, filepath.Join(dir, "broadcast"), "-listen", "ws://127.0.0.1:0")
	if page := get(t, strings.TrimSuffix(url, "chat")); !strings.Contains(page, "new WebSocket") {
		t.Errorf("page %q", page)
	}
	one := dial(t, url)
	two := dial(t, url)
	expect(t, two, "has come")
	if err := one.Write(websocket.Text, []byte("good morning")); err != nil {
		t.Fatal(err)
	}
	expect(t, one, ": good morning")
	expect(t, two, ": good morning")
	_ = two.Close(websocket.CloseNormal, "")
	expect(t, one, "has left, and missed 0")

	url = start(t, filepath.Join(dir, "services"), "-listen", "ws://127.0.0.1:0", "-files", "broadcast")
	upper := dial(t, url+"/upper")
	if err := upper.Write(websocket.Text, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	expect(t, upper, "HELLO")
	expect(t, dial(t, url+"/clock"), ":")
	if page := get(t, url+"/clock"); page != "a clock for WebSockets; 1 are looking at it\n" {
		t.Errorf("status %q", page)
	}
	if page := get(t, url+"/page.html"); !strings.Contains(page, "new WebSocket") {
		t.Errorf("page %q", page)
	}
}

func testSerialPort(t *testing.T, dir string) {
	socat, err := exec.LookPath("socat")
	if err != nil {
		interop.Missing(t, "package missing: socat")
	}
	port := filepath.Join(t.TempDir(), "port")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	board := exec.CommandContext(ctx, socat, "PTY,rawer,link="+port, `SYSTEM:while read -r l; do echo "$l" | tr a-z A-Z; done`)
	if err := board.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = board.Process.Kill()
		_ = board.Wait()
	}()
	for ctx.Err() == nil {
		if _, err := os.Stat(port); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond) // for a program of others
	}
	url := start(t, filepath.Join(dir, "gateway"), "forward", "ws://127.0.0.1:0/port", "serial:"+port, "--web", "serialport")
	if page := get(t, strings.TrimSuffix(url, "port")+"page.html"); !strings.Contains(page, `"port"), ["binary"]`) {
		t.Errorf("page %q", page)
	}
	c, err := (&websocket.Dialer{Subprotocols: []string{"binary"}}).Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(websocket.CloseNormal, "")
	if err := c.Write(websocket.Binary, []byte("led on\n")); err != nil {
		t.Fatal(err)
	}
	expect(t, c, "LED ON")
}
