package exec

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"gantry/drivers/internal/program"
)

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
		return nil, program.Over(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := p.program(c).Prepare(ctx)
	out, errs := &bounded{limit: p.maxOutput}, &bounded{limit: 256, cut: true}
	cmd.Stdout, cmd.Stderr = out, errs
	if err := cmd.Start(); err != nil {
		return nil, program.StartError(c[0], err)
	}
	err := cmd.Wait()
	_ = program.Signal(cmd, syscall.SIGKILL) // what it has left behind; mostly nothing
	r := &result{out: out.kept, errs: strings.ToValidUTF8(strings.TrimSpace(string(errs.kept)), "\uFFFD"), code: cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, program.Over(ctx.Err())
	case out.full:
		return nil, fmt.Errorf("%s: %w of %d bytes", c[0], errTooMuch, p.maxOutput)
	case err == nil, errors.As(err, &exit) && r.code >= 0, errors.Is(err, exec.ErrWaitDelay):
		return r, nil
	}
	return nil, fmt.Errorf("%s: %w", c[0], err) // killed by a signal, which it names
}

// program returns what runs a command.
func (p *plan) program(c command) *program.Program {
	return &program.Program{Command: c, Dir: p.dir, Env: p.env, Limits: p.limits}
}
