package launch_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gantry/internal/launch"
)

// TestMain is the launcher, too.
func TestMain(m *testing.M) {
	launch.Main(os.Args)
	goleak.VerifyTestMain(m)
}

// sh runs a script within limits and returns what it prints.
func sh(t *testing.T, l launch.Limits, script string, change func(*exec.Cmd)) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", script)
	if change != nil {
		change(cmd)
	}
	launch.Wrap(cmd, l)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// signalled returns the signal that ended a program.
func signalled(err error) syscall.Signal {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0
	}
	return exit.Sys().(syscall.WaitStatus).Signal()
}

func TestAProgramIsWhatItWouldBe(t *testing.T) {
	t.Parallel()
	out, err := sh(t, launch.Limits{}, `echo "$0 $A"; pwd; grep NoNewPrivs /proc/self/status; ulimit -c; exit 3`, func(c *exec.Cmd) {
		c.Env, c.Dir = []string{"A=b"}, "/"
	})
	var exit *exec.ExitError
	if out != "/bin/sh b\n/\nNoNewPrivs:\t1\n0" || !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("%q, %v", out, err)
	}
	cmd := exec.Command("/no/such/program")
	launch.Wrap(cmd, launch.Limits{})
	if out, err := cmd.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("/no/such/program: no such file")) {
		t.Errorf("%q, %v", out, err)
	}
}

func TestOpenFilesAreLimited(t *testing.T) {
	t.Parallel()
	out, err := sh(t, launch.Limits{OpenFiles: 6}, "exec 3</dev/null 4</dev/null 5</dev/null; echo five; exec 6</dev/null", nil)
	if err == nil || !strings.HasPrefix(out, "five\n") || !strings.Contains(out, "open files") && !strings.Contains(out, "6") {
		t.Errorf("%q, %v", out, err)
	}
}

func TestFilesAreLimited(t *testing.T) {
	t.Parallel()
	name := t.TempDir() + "/file"
	_, err := sh(t, launch.Limits{FileSize: 100_000}, "exec head -c 200000 /dev/zero >"+name, nil)
	info, serr := os.Stat(name)
	if signalled(err) != syscall.SIGXFSZ || serr != nil || info.Size() > 100_000 {
		t.Errorf("%v, %v, %v", err, info, serr)
	}
}

func TestProcessorTimeIsLimited(t *testing.T) {
	t.Parallel()
	_, err := sh(t, launch.Limits{CPUTime: time.Second}, "while :; do :; done", nil)
	if s := signalled(err); s != syscall.SIGXCPU && s != syscall.SIGKILL {
		t.Errorf("%v", err)
	}
}

// A shell keeps all of its variables on its heap.
func TestMemoryIsLimited(t *testing.T) {
	t.Parallel()
	const hog = `x=0123456789abcdef; while [ ${#x} -lt 60000000 ]; do x=$x$x; done; echo ${#x}`
	if out, err := sh(t, launch.Limits{Memory: 32 << 20}, hog, nil); err == nil {
		t.Errorf("with 32 MiB: %q", out)
	}
	if out, err := sh(t, launch.Limits{}, hog, nil); err != nil {
		t.Errorf("without a limit: %q, %v", out, err)
	}
}

// The limit of processes does not hold for root: the program is another user's, who
// has no other processes.
func TestProcessesAreLimited(t *testing.T) {
	t.Parallel()
	const stranger = 64731
	if os.Getuid() != 0 {
		t.Skip("not root: cannot be a user without other processes")
	}
	other := func(c *exec.Cmd) {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
		c.Dir = "/"
	}
	out, err := sh(t, launch.Limits{Processes: 3}, "for i in 1 2 3 4 5 6; do sleep 1 & done; echo all", other)
	if strings.Contains(out, "all") || !strings.Contains(strings.ToLower(out), "fork") {
		t.Errorf("%q, %v", out, err)
	}
}

func TestNice(t *testing.T) {
	t.Parallel()
	if out, err := sh(t, launch.Limits{Nice: 7}, "exec nice", nil); out != "7" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
}

func TestMainRefusesNonsense(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{{}, {"x"}, {"1,2", "1", "/bin/true", "true"}, {"0,0,0,0,0,x", "1", "/bin/true", "true"},
		{"0,77,0,0,0,0", fmt.Sprint(os.Getpid()), "/bin/true", "true"}, {"0,0,0,0,0,0", "1", "/bin/true", "true"}} {
		cmd := exec.Command(self)
		cmd.Args = append([]string{"gantry-launch"}, words...)
		if out, err := cmd.CombinedOutput(); err == nil || !bytes.HasPrefix(out, []byte("gantry-launch: ")) {
			t.Errorf("%v: %q, %v", words, out, err)
		}
	}
}
