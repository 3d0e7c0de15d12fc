// Package mosquitto runs the programs of Eclipse Mosquitto as peers of tests.
package mosquitto

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gantry/internal/daemon"
)

// patience is how long a program may take for a step.
const patience = time.Minute

// Need returns the path of a program. It skips the test if it is not installed, or
// fails it where all peers have to be.
func Need(t testing.TB, program, debian string) string {
	t.Helper()
	for _, name := range []string{program, "/usr/sbin/" + program} { // not in everybody's PATH
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("GANTRY_REQUIRE_PEERS") == "1" {
		t.Fatalf("%s is missing: install the package %s", program, debian)
	}
	t.Skipf("%s is missing: install the package %s", program, debian)
	return ""
}

// Broker is a broker that can be killed and started again.
type Broker struct {
	Addr string // of the plain listener, host:port

	t    testing.TB
	file string
	proc daemon.Daemon
}

// NewBroker starts a broker on a loopback address of its own. config has more lines for
// its configuration file. It is killed at the end of the test.
func NewBroker(t testing.TB, config ...string) *Broker {
	t.Helper()
	b := &Broker{t: t, Addr: FreeAddr(t), file: filepath.Join(t.TempDir(), "mosquitto.conf")}
	host, port, _ := net.SplitHostPort(b.Addr)
	lines := append([]string{
		"log_dest stderr", "log_type information", "log_type error", "allow_anonymous true",
		"user root", // as root it would become a user who cannot read the test's files
		"listener " + port + " " + host,
	}, config...)
	if err := os.WriteFile(b.file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.proc = daemon.Daemon{Name: "mosquitto", Patience: patience, Ready: func(line string) bool { return strings.HasSuffix(line, " running") }}
	b.Start()
	t.Cleanup(b.Kill)
	return b
}

// FreeAddr returns an address of 127.0.0.1 that nobody listens to, for a server with
// SO_REUSEADDR. Until the end of the test nobody else is given it who asks for any
// port, so that the server can also be started again.
func FreeAddr(t testing.TB) string {
	t.Helper()
	// Bound, without listening: that refuses connections, and lets others bind to it who
	// name it.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(at.(*unix.SockaddrInet4).Port))
}

// Start runs the broker and waits until it listens.
func (b *Broker) Start() {
	b.t.Helper()
	b.proc.Start(b.t, Need(b.t, "mosquitto", "mosquitto"), "-c", b.file)
}

// Kill ends the broker without a farewell. It may be down already.
func (b *Broker) Kill() { b.proc.Kill() }

// Subscriber is a running mosquitto_sub.
type Subscriber struct {
	t     testing.TB
	lines chan string // capacity for all that a test expects; closed at the end of output
}

// Subscribe starts mosquitto_sub with args towards addr and waits until it is
// subscribed. Its lines are "topic retained qos payload".
func Subscribe(t testing.TB, addr string, args ...string) *Subscriber {
	t.Helper()
	path := Need(t, "mosquitto_sub", "mosquitto-clients")
	host, port, _ := net.SplitHostPort(addr)
	args = append([]string{"-h", host, "-p", port, "-F", "%t %r %q %p", "-d"}, args...)
	cmd := exec.Command("stdbuf", append([]string{"-oL", path}, args...)...)
	if _, err := exec.LookPath("stdbuf"); err != nil {
		cmd = exec.Command(path, args...)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &Subscriber{t: t, lines: make(chan string, 1000)}
	ready := make(chan struct{}, 1)
	go func() {
		defer close(s.lines)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			line := sc.Text()
			switch {
			case strings.HasPrefix(line, "Subscribed"):
				ready <- struct{}{}
			case strings.HasPrefix(line, "Client "):
			default:
				s.lines <- line
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		for range s.lines { // until its output has ended
		}
		_ = cmd.Wait() // the signal
	})
	select {
	case <-ready:
	case <-time.After(patience):
		t.Fatal("mosquitto_sub did not subscribe")
	}
	return s
}

// Lines returns the lines that nobody has taken. It is closed at the end of output.
func (s *Subscriber) Lines() <-chan string { return s.lines }

// Expect takes lines in any order.
func (s *Subscriber) Expect(want ...string) {
	s.t.Helper()
	left := map[string]int{}
	for _, w := range want {
		left[w]++
	}
	for range want {
		select {
		case line := <-s.lines:
			if left[line]--; left[line] < 0 {
				s.t.Fatalf("mosquitto_sub got %q, want one of %q", line, want)
			}
		case <-time.After(patience):
			s.t.Fatalf("mosquitto_sub got no more; missing of %v", left)
		}
	}
}

// Publish runs mosquitto_pub with args towards addr to its end.
func Publish(t testing.TB, addr string, stdin io.Reader, args ...string) {
	t.Helper()
	path := Need(t, "mosquitto_pub", "mosquitto-clients")
	host, port, _ := net.SplitHostPort(addr)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{"-h", host, "-p", port}, args...)...)
	cmd.Stdin = stdin
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub %q: %v: %s", args, err, out)
	}
}
