package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"gantry/internal/launch"
	"gantry/store"
)

// trials are processes that open the files of the store first. Memory counts address
// space, of which the Go runtime alone takes some 80 MiB; a file of 16 MiB takes
// seconds on a slow card.
var trials = apart{
	limits: launch.Limits{Memory: 256 << 20, CPUTime: 10 * time.Second, FileSize: 1 << 30},
	wait:   time.Minute,
}

// storeApartCommand is what store.Apart is behind.
func (a *app) storeApartCommand() *cobra.Command {
	return &cobra.Command{
		Use: "apart", Hidden: true, DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error { return store.Apart(args, a.out) },
	}
}

// apart runs store.Apart in processes of their own: this program once more.
type apart struct {
	limits launch.Limits
	wait   time.Duration // ends a process that waits instead of working
}

// run returns the function for store.Config.Apart.
func (p apart) run(log *slog.Logger) func(args []string) ([]byte, error) {
	return func(args []string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(context.Background(), p.wait)
		defer cancel()
		cmd := exec.CommandContext(ctx, "/proc/self/exe", slices.Concat([]string{"store", "apart"}, args)...)
		cmd.WaitDelay = time.Second
		// Ctrl-C is for the gateway.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		var out, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &stderr
		launch.Wrap(cmd, p.limits)
		err := cmd.Run()
		if err == nil {
			return out.Bytes(), nil
		}
		said, _, _ := strings.Cut(stderr.String(), "\n")
		err = fmt.Errorf("%w: %s", err, said)
		if p.died(ctx, cmd) {
			return out.Bytes(), fmt.Errorf("%w: %w", store.ErrDied, err)
		}
		log.Warn("store: no process for "+args[0], "error", err)
		return out.Bytes(), err
	}
}

// died reports whether a process came to its end by what it did. Others may have ended
// it, too: the service manager, or the kernel for want of memory.
func (p apart) died(ctx context.Context, cmd *exec.Cmd) bool {
	state := cmd.ProcessState
	if state == nil {
		return false
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	switch {
	case !ok:
		return false
	case status.Exited():
		return status.ExitStatus() == exitPanic
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return true
	case status.Signal() == syscall.SIGKILL:
		return state.UserTime()+state.SystemTime() >= p.limits.CPUTime
	}
	return status.Signal() != syscall.SIGTERM && status.Signal() != syscall.SIGINT && status.Signal() != syscall.SIGHUP
}

// exitPanic is the exit code of the Go runtime after a panic, a fault, and when there
// is no memory.
const exitPanic = 2
