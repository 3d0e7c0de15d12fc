// Package program runs programs for drivers: with nothing of the gateway's but what
// configuration says, in a process group of their own, which is killed with them.
package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"gantry/drivers"
	"gantry/internal/launch"
	"gantry/internal/ratelog"
)

// Grace is how long a program has between being asked to end and being killed, and
// what it has left running between that and being given up.
const Grace = time.Second

// Program says what is run, and within which bounds.
type Program struct {
	Command []string // program and arguments; a program without a slash is looked for in PATH
	Dir     string
	Env     []string // all of its environment
	// Limits, if not nil, are what it may use; it then gains no rights by what it runs.
	Limits *launch.Limits
}

// Prepare returns a process that leads a group and is killed with it when ctx ends.
// The kernel kills it, too, when the thread that started it ends: the caller stays on
// that thread.
func (p *Program) Prepare(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.Command[0], p.Command[1:]...)
	cmd.Dir, cmd.Env = p.Dir, p.Env
	if cmd.Env == nil {
		cmd.Env = []string{} // nil would stand for the gateway's own
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return Signal(cmd, syscall.SIGKILL) }
	cmd.WaitDelay = Grace
	if p.Limits != nil {
		launch.Wrap(cmd, *p.Limits)
	}
	return cmd
}

// Signal sends a signal to all of the process's group.
func Signal(cmd *exec.Cmd, s syscall.Signal) error { return syscall.Kill(-cmd.Process.Pid, s) }

// Serve starts the program and waits for its end, on one thread: the program ends with
// it. When ctx ends the group is asked to end, and killed after Grace. started gets the
// outcome of the start, once. in and out, which may be nil, are closed here. The error
// says how it ended and is drivers.ErrOffline, except that of a failed start.
func (p *Program) Serve(ctx context.Context, in, out *os.File, complain io.Writer, started chan<- error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := p.Prepare(ctx)
	cmd.Cancel = func() error { return Signal(cmd, syscall.SIGTERM) }
	cmd.Stdout, cmd.Stderr = complain, complain
	if in != nil {
		cmd.Stdin = in
	}
	if out != nil {
		cmd.Stdout = out
	}
	err := cmd.Start()
	// Or the other ends would not notice the end of the program.
	for _, f := range []*os.File{in, out} {
		if f != nil {
			f.Close()
		}
	}
	started <- err
	if err != nil {
		return err
	}
	err = cmd.Wait()
	_ = Signal(cmd, syscall.SIGKILL) // whoever has not heard
	if err == nil {
		return fmt.Errorf("%w: the program has ended", drivers.ErrOffline)
	}
	return fmt.Errorf("%w: the program has ended: %w", drivers.ErrOffline, err)
}

// StartError says why a program cannot be started.
func StartError(program string, err error) error {
	return fmt.Errorf("%w: %w (check command and dir; %s has to be there and executable for the gateway's user)", drivers.ErrOffline, err, program)
}

// Over returns the error of a request whose context has ended.
func Over(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return drivers.ErrTimeout
	}
	return err
}

// Path returns where a program is: one with a slash in its name is relative to dir.
func Path(name, dir string) string {
	if strings.ContainsRune(name, '/') && !filepath.IsAbs(name) {
		return filepath.Join(dir, name)
	}
	return name
}

// Environment returns env and what inherit names of the gateway's own; nil for PATH.
// The error is a *drivers.ConfigError.
func Environment(inherit []string, env map[string]string) ([]string, error) {
	if inherit == nil {
		inherit = []string{"PATH"}
	}
	var all []string
	for _, name := range inherit {
		if v, ok := os.LookupEnv(name); ok {
			all = append(all, name+"="+v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(env[name], 0) {
			return nil, &drivers.ConfigError{Key: "env", Text: fmt.Sprintf("%.40q is no name, or its value has a NUL character", name), Allowed: "names without ="}
		}
		all = append(all, name+"="+env[name])
	}
	return all, nil
}

// Complaints logs what a program says, now and then a line. It is for one process.
type Complaints struct {
	log  *ratelog.Log
	line []byte
}

// NewComplaints logs at most a line a second.
func NewComplaints(log *slog.Logger, now func() time.Time) *Complaints {
	return &Complaints{log: ratelog.New(log, time.Second, now)}
}

// maxComplaint bounds a line in the log.
const maxComplaint = 256

// Write implements io.Writer.
func (c *Complaints) Write(p []byte) (int, error) {
	for _, b := range p {
		if b != '\n' {
			if len(c.line) < maxComplaint {
				c.line = append(c.line, b)
			}
			continue
		}
		if len(c.line) > 0 {
			c.log.Warn("program says", "stderr", strings.ToValidUTF8(string(c.line), "\uFFFD"))
		}
		c.line = c.line[:0]
	}
	return len(p), nil
}
