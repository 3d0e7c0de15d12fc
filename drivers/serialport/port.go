package serialport

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"gantry/drivers"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"
)

// Longest waits for calls into the kernel that have no deadline of their own.
const (
	openWait  = 10 * time.Second // an USB adapter that does not answer: 5 s a request
	closeWait = 2 * time.Second  // the kernel lets unsent bytes drain for up to 30 s
	stuckWait = 1 * time.Second  // a cancelled open of a healthy port comes back in milliseconds
)

// DefaultWriteTimeout bounds a [Conn.Write] whose context has no earlier deadline.
const DefaultWriteTimeout = 5 * time.Second

// Port is a serial port as configured, open or not, plugged in or not. It is safe
// for concurrent use.
type Port struct {
	cfg       Config
	mode      serial.Mode
	line      LineConfig
	roots     Roots
	log       *slog.Logger
	openWait  time.Duration
	closeWait time.Duration
	stuckWait time.Duration

	mu    sync.Mutex      // guards stuck
	stuck <-chan struct{} // closed when the call that did not come back has; nil if there is none
}

// New returns the port that cfg names, to be driven as line says. It opens
// nothing. Errors are *drivers.ConfigError. A nil log discards.
func New(cfg Config, line LineConfig, roots Roots, log *slog.Logger) (*Port, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	mode, err := line.mode()
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Port{cfg: cfg, mode: *mode, line: line, roots: roots.withDefaults(), log: log,
		openWait: openWait, closeWait: closeWait, stuckWait: stuckWait}, nil
}

// String names the port as configured.
func (p *Port) String() string { return p.cfg.String() }

// Baud returns the speed in bits per second, from which pauses between frames are
// reckoned.
func (p *Port) Baud() int { return p.mode.BaudRate }

// Resolve returns the device node that the port is at this moment, links
// followed. Errors are *Error and list the ports that are present.
func (p *Port) Resolve() (string, error) {
	if p.cfg.Path != "" {
		path, err := filepath.EvalSymlinks(p.cfg.Path)
		if err != nil {
			return "", openError(p.cfg.Path, err, p.roots)
		}
		return path, nil
	}
	found, err := List(p.roots)
	if err != nil {
		return "", &Error{Op: "open", Port: p.String(), Kind: drivers.ErrOffline, Err: err}
	}
	var node string
	var match []string
	for _, info := range found {
		if p.cfg.matches(info) {
			node = info.Path
			match = append(match, info.String())
		}
	}
	switch len(match) {
	case 1:
		return node, nil
	case 0:
		return "", &Error{Op: "open", Port: p.String(), Kind: drivers.ErrOffline, Err: errNoPort, Hint: portsHint(p.roots)}
	}
	return "", &Error{Op: "open", Port: p.String(), Kind: drivers.ErrOffline, Err: errAmbiguous,
		Hint: "add serial or interface to tell them apart: " + strings.Join(match, ", ")}
}

// Open resolves and opens the port for the caller alone and drops what was
// received before. The caller closes the result. Errors are *Error; one that
// matches drivers.ErrBusy says who has the port, or that an earlier operation on
// it has not come back from the kernel: until it does, every Open waits a second
// for it and is then refused, so that retries do not pile up.
func (p *Port) Open(ctx context.Context) (*Conn, error) {
	settled := p.settle(ctx)
	// An open that nobody waits for would hold the lock for a moment.
	if err := ctx.Err(); err != nil {
		return nil, &Error{Op: "open", Port: p.String(), Err: err}
	}
	if !settled {
		return nil, &Error{Op: "open", Port: p.String(), Kind: drivers.ErrBusy, Err: errStuck,
			Hint: "unplug the adapter and plug it in again"}
	}
	path, err := p.Resolve()
	if err != nil {
		return nil, err
	}
	var conn *Conn
	var openErr error
	var mu sync.Mutex // guards late
	late := false
	back := p.bounded(ctx, p.openWait, func() {
		c, err := p.open(path)
		mu.Lock()
		defer mu.Unlock()
		if late && c != nil {
			c.release()
			return
		}
		conn, openErr = c, err
	})
	if back {
		return conn, openErr
	}
	mu.Lock()
	late = true
	done := conn
	mu.Unlock()
	if done != nil {
		done.Close()
	}
	if err := ctx.Err(); err != nil {
		return nil, &Error{Op: "open", Port: path, Err: err}
	}
	return nil, &Error{Op: "open", Port: path, Kind: drivers.ErrTimeout, Err: errStuck, Hint: "unplug the adapter and plug it in again"}
}

// open does what can block in the kernel.
func (p *Port) open(path string) (*Conn, error) {
	f, err := openNode(path)
	if err != nil {
		return nil, openError(path, err, p.roots)
	}
	port, err := openSerial(path, &p.mode)
	if err != nil {
		f.Close()
		return nil, openError(path, err, p.roots)
	}
	if !sameDevice(f, path) {
		port.Close()
		f.Close()
		return nil, &Error{Op: "open", Port: path, Kind: drivers.ErrOffline, Err: errGone}
	}
	p.modemLines(path, port)
	c := &Conn{port: p, path: path, f: f, ctl: port, turn: make(chan struct{}, 1)}
	// What came before is of unknown age. Not every port can drop it.
	if err := port.ResetInputBuffer(); err != nil {
		p.log.Debug("port keeps old input", "port", path, "err", err)
	}
	return c, nil
}

// openNode opens the node for the poller and locks it. The lock of TIOCEXCL, which
// the library sets, does not bind root; the one of flock binds all who ask for it.
func openNode(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	var ioErr error
	err = raw.Control(func(fd uintptr) {
		if _, ioErr = unix.IoctlGetTermios(int(fd), unix.TCGETS); ioErr != nil {
			ioErr = errNoSerial
			return
		}
		if ioErr = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB); ioErr == unix.EWOULDBLOCK {
			ioErr = errLocked
		}
	})
	if err == nil {
		err = ioErr
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// openSerial opens and sets up the node by the library, which leaves the
// descriptor open in child processes: one of them would keep the line up, and the
// board from resetting, after the port was closed here. No process is started
// between opening and marking.
func openSerial(path string, mode *serial.Mode) (serial.Port, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	port, err := serial.Open(path, mode)
	if err != nil {
		return nil, cause(err)
	}
	const dir = "/proc/self/fd"
	fds, err := os.ReadDir(dir)
	if err != nil {
		return port, nil
	}
	for _, e := range fds {
		var fd int
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err != nil || to != path {
			continue
		}
		if _, err := fmt.Sscan(e.Name(), &fd); err == nil {
			unix.CloseOnExec(fd)
		}
	}
	return port, nil
}

// cause turns the library's codes into those of the system.
func cause(err error) error {
	pe, ok := err.(*serial.PortError)
	if !ok {
		return err
	}
	switch pe.Code() {
	case serial.PortBusy:
		return syscall.EBUSY
	case serial.PermissionDenied:
		return syscall.EACCES
	}
	return err
}

// sameDevice reports whether path still leads to the device that f has locked:
// after unplug and plug another one may have the name.
func sameDevice(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// modemLines sets DTR and RTS where asked. Pseudo terminals and some adapters have
// no modem lines: then there is nothing to set, and the port works all the same.
func (p *Port) modemLines(path string, port serial.Port) {
	set := func(name string, level *bool, f func(bool) error) {
		if level == nil {
			return
		}
		if err := f(*level); err != nil {
			p.log.Warn("port has no such modem line", "port", path, "line", name, "err", err)
		}
	}
	set("dtr", p.line.DTR, port.SetDTR)
	set("rts", p.line.RTS, port.SetRTS)
}

// settle waits for the call that did not come back, if there is one, and reports
// whether the port is free of it. A device that is started anew right after its
// stop finds the cancelled open still under way.
func (p *Port) settle(ctx context.Context) bool {
	p.mu.Lock()
	stuck := p.stuck
	p.mu.Unlock()
	if stuck == nil {
		return true
	}
	timer := time.NewTimer(p.stuckWait)
	defer timer.Stop()
	select {
	case <-stuck:
	case <-timer.C:
		select {
		case <-stuck: // it came back as the time ended
		default:
			return false
		}
	case <-ctx.Done():
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stuck == stuck {
		p.stuck = nil
	}
	return true
}

// bounded runs f and waits for it, at most for the time given or until ctx ends.
// It reports whether f came back; if not, the port is stuck until it does, so at
// most one goroutine is ever left behind.
func (p *Port) bounded(ctx context.Context, wait time.Duration, f func()) bool {
	done := make(chan struct{}) // closed by the goroutine below when f is back
	go func() {
		defer close(done)
		f()
	}()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stuck = done
	return false
}
