package interop

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// built is where the program gantry is built, once for all tests.
var built string

// Main is the TestMain of packages whose tests start gateways. It looks for leaked
// goroutines, too.
func Main(m *testing.M) {
	dir, err := os.MkdirTemp("", "interop")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	built = dir
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		// What cannot be removed stays in the directory for what is temporary.
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// Program builds gantry as the test was built, with the race detector, too, and
// for the same processor, and returns its path.
var Program = sync.OnceValues(func() (string, error) {
	file := filepath.Join(built, "gantry")
	args := []string{"build", "-buildvcs=false", "-o", file}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "gantry/cmd/gateway")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go %v: %w\n%s", args, err, out)
	}
	return file, nil
})

// Gateway is the program gantry, run in a process of its own.
type Gateway struct {
	Addr string // host:port of everything but the Unix socket
	Unix string // its path
	CA   string // the file that its certificate is in, for Join; the test sets it
	Stop func() // ends it in order, as the test does at the latest
}

// StartGateway starts a gateway with the text of a configuration and returns once
// it is ready. env is added to its environment. The test's package has Main.
func StartGateway(t testing.TB, config string, env ...string) *Gateway {
	t.Helper()
	file, err := Program()
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir, whose names are too long for Unix sockets.
	state, err := os.MkdirTemp(built, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "gantry.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	out := &output{ready: make(chan struct{})}
	cmd := exec.Command(file, "run", "--config", state, "--state", state, "--listen", "127.0.0.1:0", "--mqtt-listen", "off")
	cmd.Stdout, cmd.Stderr = out, out
	// The race detector otherwise lets every program sleep for a second at its end.
	cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=10"), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	g := &Gateway{Unix: filepath.Join(state, "gantry.sock")}
	g.Stop = sync.OnceFunc(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("the gateway: %v", err)
		}
		late := time.AfterFunc(Patience, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		if err := <-ended; err != nil {
			t.Errorf("the gateway: %v\n%s", err, out)
		}
	})
	t.Cleanup(func() {
		g.Stop()
		if t.Failed() {
			t.Logf("the gateway said:\n%s", out)
		}
	})
	select {
	case <-out.ready:
	case err := <-ended:
		ended <- err
		t.Fatalf("the gateway did not start: %v", err)
	case <-time.After(Patience):
		t.Fatal("the gateway is not ready")
	}
	g.Addr = saidAddress.FindStringSubmatch(out.String())[1]
	return g
}

// saidAddress finds what the program says once it is ready.
var saidAddress = regexp.MustCompile(`WAMP +wss?://([^/]+)/ws `)

// output is what a program says.
type output struct {
	mu    sync.Mutex // guards text
	text  bytes.Buffer
	ready chan struct{} // closed when it has said where it listens
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before := saidAddress.Match(o.text.Bytes())
	o.text.Write(b)
	if !before && saidAddress.Match(o.text.Bytes()) {
		close(o.ready)
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Join is how a peer joins a realm of the gateway over a link.
func (g *Gateway) Join(l Link, realm string) Join {
	j := Join{URL: g.URL(l), Realm: realm, Serializer: l.Serializer}
	if l.TLS() {
		j.CA = g.CA
	}
	return j
}

// URL is where the gateway speaks a link's transport.
func (g *Gateway) URL(l Link) string {
	url := l.Scheme + "://" + g.Addr
	switch l.Scheme {
	case "ws", "wss":
		url += "/ws"
	case "lp", "lps":
		url += "/lp"
	case "rs+unix":
		url = "rs+unix://" + g.Unix
	}
	return url
}

// Stored is what the program makes of a password, for a user's key stored.
func Stored(t testing.TB, password string) []byte {
	t.Helper()
	file, err := Program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(file, "user", "hash")
	cmd.Stdin = strings.NewReader(password + "\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}
