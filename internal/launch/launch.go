// Package launch starts programs with limits. Limits cannot be set from outside
// without a moment in which the program runs without them, so the process runs its own
// executable again in the program's place: that sets them for itself and then becomes
// the program. A leaf: it knows nobody.
package launch

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limits are what a program may use: see setrlimit(2). Children that it starts get the
// same, each for itself. 0 = what the process that starts it may use.
type Limits struct {
	// Memory bounds what a process may write to and does not share, in bytes: heap,
	// stacks of threads, private mappings (RLIMIT_DATA). Over it, allocations fail.
	Memory uint64
	// CPUTime bounds the processor time of a process from its start, in whole seconds.
	// Over it the kernel ends it by SIGXCPU, and a second later by SIGKILL.
	CPUTime time.Duration
	// OpenFiles bounds open files and sockets.
	OpenFiles uint64
	// Processes bounds processes and threads of the user in all, not of the program
	// alone. It does not hold for root.
	Processes uint64
	// FileSize bounds files that are written, in bytes; over it SIGXFSZ.
	FileSize uint64
	// Nice is how much it stands back behind others who want the processor, 1 to 19.
	Nice int
}

// argv0 is the name by which Main knows that it is to become another program.
const argv0 = "gantry-launch"

// failed is the exit code of a program that could not be started.
const failed = 126

// Wrap makes cmd start its program within limits, and never with more rights than it
// has at its start. The process needs Main at the beginning of its main function.
func Wrap(cmd *exec.Cmd, l Limits) {
	if cmd.Err != nil {
		return // it was not found
	}
	words := []string{argv0, l.encode(), strconv.Itoa(os.Getpid()), cmd.Path}
	cmd.Args = append(words, cmd.Args...)
	cmd.Path = "/proc/self/exe" // also after the file was replaced
}

// Main becomes the program if this process was started for that by Wrap; else it
// returns at once. Where it fails it says so on standard error and ends the process.
func Main(args []string) {
	if len(args) == 0 || args[0] != argv0 {
		return
	}
	err := become(args[1:])
	fmt.Fprintf(os.Stderr, "%s: %v\n", argv0, err)
	os.Exit(failed)
}

// become takes limits, the parent's process id, the program and its arguments.
func become(args []string) error {
	if len(args) < 4 {
		return fmt.Errorf("takes limits, parent, program and arguments, not %d words", len(args))
	}
	limits, err := decode(args[0])
	if err != nil {
		return err
	}
	// From here on no thread may have to be started: they count.
	debug.SetGCPercent(-1)
	runtime.LockOSThread()
	// Both hold for the thread, and so for the program that it becomes. A parent that
	// ended before is not noticed by the first.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("death of the parent: %w", err)
	}
	if strconv.Itoa(os.Getppid()) != args[1] {
		return fmt.Errorf("parent %s has ended", args[1])
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	env := os.Environ()
	if err := limits.set(); err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", args[2], syscall.Exec(args[2], args[3:], env))
}

// resources are the limits in the order of their encoding.
var resources = [...]struct {
	name     string
	resource int
	of       func(*Limits) *uint64
}{
	{"file size", unix.RLIMIT_FSIZE, func(l *Limits) *uint64 { return &l.FileSize }},
	{"open files", unix.RLIMIT_NOFILE, func(l *Limits) *uint64 { return &l.OpenFiles }},
	{"memory", unix.RLIMIT_DATA, func(l *Limits) *uint64 { return &l.Memory }},
	{"processes", unix.RLIMIT_NPROC, func(l *Limits) *uint64 { return &l.Processes }},
}

func (l *Limits) encode() string {
	words := []string{strconv.FormatInt(int64(l.CPUTime/time.Second), 10), strconv.Itoa(l.Nice)}
	for _, r := range resources {
		words = append(words, strconv.FormatUint(*r.of(l), 10))
	}
	return strings.Join(words, ",")
}

func decode(text string) (*Limits, error) {
	words := strings.Split(text, ",")
	numbers := make([]uint64, len(words))
	for i, w := range words {
		n, err := strconv.ParseUint(w, 10, 63)
		if err != nil {
			return nil, fmt.Errorf("limits %.64q: %w", text, err)
		}
		numbers[i] = n
	}
	if len(numbers) != 2+len(resources) || numbers[0] > uint64(1<<31) || numbers[1] > 19 {
		return nil, fmt.Errorf("limits %.64q: %d numbers, or one is too large", text, len(numbers))
	}
	l := &Limits{CPUTime: time.Duration(numbers[0]) * time.Second, Nice: int(numbers[1])}
	for i, r := range resources {
		*r.of(l) = numbers[2+i]
	}
	return l, nil
}

// set sets the limits of this process, those that threads need last.
func (l *Limits) set() error {
	// Dumps of memory would fill the disk, and hold secrets.
	if err := syscall.Setrlimit(unix.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("limit of core dumps: %w", err)
	}
	if l.Nice > 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, l.Nice); err != nil {
			return fmt.Errorf("nice: %w", err)
		}
	}
	if s := uint64(l.CPUTime / time.Second); s > 0 {
		if err := lower(unix.RLIMIT_CPU, s, s+1); err != nil {
			return fmt.Errorf("limit of processor time: %w", err)
		}
	}
	for _, r := range resources {
		if n := *r.of(l); n > 0 {
			if err := lower(r.resource, n, n); err != nil {
				return fmt.Errorf("limit of %s: %w", r.name, err)
			}
		}
	}
	return nil
}

// lower sets a limit; where a lower one holds already that stays.
func lower(resource int, soft, hard uint64) error {
	var now syscall.Rlimit
	if err := syscall.Getrlimit(resource, &now); err != nil {
		return err
	}
	return syscall.Setrlimit(resource, &syscall.Rlimit{Cur: min(soft, now.Max), Max: min(hard, now.Max)})
}
