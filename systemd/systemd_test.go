package systemd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gantry/systemd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// manager is the service manager's end of the socket.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
}

func listen(t *testing.T, name string) *manager {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &manager{t, conn}
}

func (m *manager) next() string {
	m.t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		m.t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := m.conn.Read(b)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(b[:n])
}

func env(m map[string]string) func(string) string {
	return func(name string) string { return m[name] }
}

func TestStateReachesTheServiceManager(t *testing.T) {
	t.Parallel()
	for kind, name := range map[string]string{
		"path":     filepath.Join(t.TempDir(), "notify"),
		"abstract": fmt.Sprintf("@gantry-test-%d", os.Getpid()),
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			m := listen(t, name)
			n, err := systemd.New(env(map[string]string{"NOTIFY_SOCKET": name}))
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range []struct {
				send func() error
				want string
			}{
				{n.Ready, `^READY=1$`},
				{n.Reloading, `^RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]+$`},
				{func() error { return n.Status("3 devices\nonline") }, `^STATUS=3 devices online$`},
				{n.Stopping, `^STOPPING=1$`},
			} {
				if err := step.send(); err != nil {
					t.Fatal(err)
				}
				if got := m.next(); !regexp.MustCompile(step.want).MatchString(got) {
					t.Errorf("got %q, want %s", got, step.want)
				}
			}
		})
	}
}

func TestWatchdogIsFedOnlyWhileAlive(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "notify")
	m := listen(t, name)
	n, err := systemd.New(env(map[string]string{
		"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": strconv.Itoa(os.Getpid()),
	}))
	if err != nil {
		t.Fatal(err)
	}
	if n.Watchdog() != 20*time.Millisecond {
		t.Errorf("watchdog %v", n.Watchdog())
	}
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan bool) // unbuffered: the test decides each answer
	done := make(chan error, 1)
	go func() {
		done <- n.Run(ctx, func(ctx context.Context) error {
			select {
			case alive := <-asked:
				if alive {
					return nil
				}
			case <-ctx.Done():
			}
			return errors.New("stuck")
		})
	}()
	asked <- true
	if got := m.next(); got != "WATCHDOG=1" {
		t.Errorf("got %q", got)
	}
	asked <- false
	asked <- false
	asked <- true
	if got := m.next(); got != "WATCHDOG=1" {
		t.Errorf("got %q", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := m.conn.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if k, err := m.conn.Read(make([]byte, 64)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a report too many: %d bytes, %v", k, err)
	}
}

func TestNothingIsSentWithoutServiceManager(t *testing.T) {
	t.Parallel()
	n, err := systemd.New(env(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(n.Ready(), n.Stopping(), n.Reloading(), n.Status("x")); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Run(ctx, func(context.Context) error { t.Error("asked"); return nil }); err != nil {
		t.Error(err)
	}
}

func TestLostServiceManagerIsAnError(t *testing.T) {
	t.Parallel()
	n, err := systemd.New(env(map[string]string{
		"NOTIFY_SOCKET": filepath.Join(t.TempDir(), "nobody"), "WATCHDOG_USEC": "1000000",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if n.Ready() == nil {
		t.Error("Ready went well")
	}
	if n.Run(t.Context(), func(context.Context) error { return nil }) == nil {
		t.Error("Run went well")
	}
}

func TestEnvironmentIsChecked(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]map[string]string{
		"relative socket": {"NOTIFY_SOCKET": "notify"},
		"vsock":           {"NOTIFY_SOCKET": "vsock:2:1234"},
		"zero watchdog":   {"WATCHDOG_USEC": "0"},
		"no number":       {"WATCHDOG_USEC": "3s"},
		"overflow":        {"WATCHDOG_USEC": "18446744073709551615"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := systemd.New(env(e)); err == nil {
				t.Error("accepted")
			}
		})
	}
	n, err := systemd.New(env(map[string]string{"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}))
	if err != nil || n.Watchdog() != 0 {
		t.Errorf("another process's watchdog: %v, %v", n.Watchdog(), err)
	}
}

func TestJournalIsRecognised(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	stream := fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	if !systemd.InJournal(f, stream) {
		t.Error("not recognised")
	}
	for _, other := range []string{"", "x", "1:2", stream + "0"} {
		if systemd.InJournal(f, other) {
			t.Errorf("%q taken for the journal", other)
		}
	}
}
