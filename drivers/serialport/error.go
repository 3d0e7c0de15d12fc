package serialport

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"gantry/drivers"
)

// Error is what goes wrong with a port. It matches, by errors.Is, the sentinel of
// package drivers that applies (ErrOffline, ErrBusy or ErrTimeout) and the cause.
type Error struct {
	Op   string // what was tried: open, read, write, close
	Port string // path, or the identity that was looked for
	Kind error  // sentinel of package drivers; nil if none applies
	Err  error  // cause
	Hint string // what the operator can do; may be empty
}

// Error returns operation, port, cause and hint.
func (e *Error) Error() string {
	s := e.Op + " " + e.Port + ": " + e.Err.Error()
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap returns the sentinel and the cause.
func (e *Error) Unwrap() []error {
	if e.Kind == nil {
		return []error{e.Err}
	}
	return []error{e.Kind, e.Err}
}

// Causes that are not the operating system's.
var (
	errGone      = errors.New("the port is gone")
	errLocked    = errors.New("the port is in use")
	errStuck     = errors.New("an earlier operation on the port has not come back")
	errNoPort    = errors.New("no such port")
	errAmbiguous = errors.New("several ports match")
	errClosed    = errors.New("the port was closed")
	errBlocked   = errors.New("the port does not take the bytes")
	errNoSerial  = errors.New("not a serial port")
)

// openError explains why path cannot be opened.
func openError(path string, err error, roots Roots) *Error {
	e := &Error{Op: "open", Port: path, Kind: drivers.ErrOffline, Err: err}
	var pe *os.PathError
	if errors.As(err, &pe) {
		e.Err = pe.Err
	}
	switch {
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		e.Hint = permissionHint(path)
	case errors.Is(err, syscall.EBUSY), errors.Is(err, errLocked):
		e.Kind, e.Hint = drivers.ErrBusy, holder(path, roots.Proc)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ENXIO), errors.Is(err, syscall.ENODEV):
		e.Err, e.Hint = errNoPort, portsHint(roots)
	case errors.Is(err, syscall.ENOTTY), errors.Is(err, errNoSerial):
		e.Err, e.Hint = errNoSerial, portsHint(roots)
	}
	return e
}

// permissionHint names the group that may open the node; udev gives serial ports
// to dialout on Debian.
func permissionHint(path string) string {
	group := "dialout"
	if st, err := os.Stat(path); err == nil {
		if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Gid != 0 {
			if g, err := user.LookupGroupId(strconv.FormatUint(uint64(sys.Gid), 10)); err == nil {
				group = g.Name
			}
		}
	}
	who := "the gateway's user"
	if u, err := user.Current(); err == nil && u.Uid != "0" {
		who = u.Username
	}
	return fmt.Sprintf("add %s to the group %s: usermod -aG %[2]s USER, then restart the gateway", who, group)
}

// portsHint lists what is there instead.
func portsHint(roots Roots) string {
	found, err := List(roots)
	if err != nil || len(found) == 0 {
		return "no serial port is present; check cable and power"
	}
	const most = 8
	names := make([]string, 0, most+1)
	for i, info := range found {
		if i == most {
			names = append(names, fmt.Sprintf("and %d more", len(found)-most))
			break
		}
		names = append(names, info.String())
	}
	return "present: " + strings.Join(names, ", ")
}

// holder names the process that has the node open, if /proc tells; an ordinary
// user sees only processes of its own.
func holder(path, proc string) string {
	pids, err := os.ReadDir(proc)
	if err != nil {
		return ""
	}
	self := os.Getpid()
	own := false
	for _, p := range pids {
		pid, err := strconv.Atoi(p.Name())
		if err != nil || !hasOpen(filepath.Join(proc, p.Name(), "fd"), path) {
			continue
		}
		if pid == self {
			own = true
			continue
		}
		return fmt.Sprintf("process %d (%s) has it open", pid, attribute(filepath.Join(proc, p.Name()), "comm"))
	}
	if own {
		return "another device of this gateway has it open"
	}
	return "another process has it open; sudo fuser -v " + path + " tells which"
}

func hasOpen(dir, path string) bool {
	fds, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && to == path {
			return true
		}
	}
	return false
}
