package exec

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"gantry/drivers"
)

// grace is how long a program has between being asked to end and being killed, and
// what it has left running between that and being given up.
const grace = time.Second

// prepare returns a process that has nothing of the gateway's but what p says. It
// leads a group, and the kernel kills it when the thread that started it ends: the
// caller stays on that thread.
func (p *plan) prepare(ctx context.Context, c command) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c[0], c[1:]...)
	cmd.Dir, cmd.Env = p.dir, p.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return signal(cmd, syscall.SIGKILL) }
	cmd.WaitDelay = grace
	return cmd
}

// signal sends a signal to all of the process's group.
func signal(cmd *exec.Cmd, s syscall.Signal) error { return syscall.Kill(-cmd.Process.Pid, s) }

// result is what a program has done.
type result struct {
	out  []byte
	errs string // the beginning of what it said on standard error
	code int
}

// errTooMuch says that a program prints more than it may.
var errTooMuch = errors.New("the program prints more than max_output")

// bounded keeps what is written up to a limit. Where cut is set the rest is dropped,
// else writing more fails. It has no ReadFrom, which would go past the limit.
type bounded struct {
	kept  []byte
	limit int
	cut   bool
	full  bool // more was written
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	room := min(len(p), b.limit-len(b.kept))
	b.kept = append(b.kept, p[:room]...)
	if b.full = b.full || room < len(p); b.full && !b.cut {
		return room, errTooMuch
	}
	return len(p), nil
}

// run runs a command to its end. When ctx ends it is killed, with all of its group;
// the error then matches drivers.ErrTimeout, or ctx's if it was cancelled.
func (p *plan) run(ctx context.Context, c command) (*result, error) {
	if err := ctx.Err(); err != nil {
		return nil, over(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := p.prepare(ctx, c)
	out, errs := &bounded{limit: p.maxOutput}, &bounded{limit: 256, cut: true}
	cmd.Stdout, cmd.Stderr = out, errs
	if err := cmd.Start(); err != nil {
		return nil, startError(c, err)
	}
	err := cmd.Wait()
	_ = signal(cmd, syscall.SIGKILL) // what it has left behind; mostly nothing
	r := &result{out: out.kept, errs: strings.ToValidUTF8(strings.TrimSpace(string(errs.kept)), "\uFFFD"), code: cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, over(ctx.Err())
	case out.full:
		return nil, fmt.Errorf("%s: %w of %d bytes", c[0], errTooMuch, p.maxOutput)
	case err == nil, errors.As(err, &exit) && r.code >= 0, errors.Is(err, exec.ErrWaitDelay):
		return r, nil
	}
	return nil, fmt.Errorf("%s: %w", c[0], err) // killed by a signal, which it names
}

// over returns the error of a request whose context has ended.
func over(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return drivers.ErrTimeout
	}
	return err
}

// startError says why a program cannot be started.
func startError(c command, err error) error {
	return fmt.Errorf("%w: %w (check command and dir; %s has to be there and executable for the gateway's user)", drivers.ErrOffline, err, c[0])
}
