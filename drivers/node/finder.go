package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"gantry/drivers"
	"gantry/drivers/serialport"
	"gantry/internal/ratelog"
)

// Times of the search.
const (
	scanEvery  = 500 * time.Millisecond // between two looks which ports are there
	yieldTime  = 2 * time.Second        // for another port to let go of a board
	retryAfter = 5 * time.Second        // before a port is tried again that could not be opened or has fallen silent
)

// maxPorts bounds the ports that are open at a time.
const maxPorts = 64

// Config is the table [discovery.node]: the ports at which nodes may be. No other
// port is opened, since opening resets many boards.
type Config struct {
	// Ports are paths in which * and ? stand for others: "/dev/ttyACM*".
	Ports []string `toml:"ports"`
	// USB are vendor and product of adapters: "2341:0043".
	USB []string `toml:"usb"`
	// Line is how the ports are driven.
	Line serialport.LineConfig `toml:"line"`
}

// NewKind returns the kind of devices that announce themselves.
func NewKind() drivers.Kind {
	k := drivers.FoundKind("node")
	k.Finder = &drivers.FinderKind{
		Config: func() any { return new(Config) },
		New:    func(cfg any, env drivers.Env) (drivers.Finder, error) { return New(*cfg.(*Config), env) },
	}
	return k
}

var usbForm = regexp.MustCompile(`^[0-9a-fA-F]{4}:[0-9a-fA-F]{4}$`)

// Validate checks the configuration. The error is a *drivers.ConfigError.
func (c *Config) Validate() error {
	if len(c.Ports)+len(c.USB) == 0 {
		return &drivers.ConfigError{Key: "ports", Text: "is missing", Allowed: `paths such as "/dev/ttyACM*"; or usb`}
	}
	for _, p := range c.Ports {
		if _, err := filepath.Match(p, ""); err != nil || !filepath.IsAbs(p) {
			return &drivers.ConfigError{Key: "ports", Text: fmt.Sprintf("%.80q is no path", p), Allowed: `absolute paths in which * and ? stand for others: "/dev/ttyACM*"`}
		}
	}
	for _, u := range c.USB {
		if !usbForm.MatchString(u) {
			return &drivers.ConfigError{Key: "usb", Text: fmt.Sprintf("%.40q is not a USB identity", u), Allowed: `vendor and product in hexadecimal: "2341:0043"`}
		}
	}
	return c.Line.Validate()
}

// New checks the configuration and returns a finder that has not been started. The
// error is a *drivers.ConfigError.
func New(cfg Config, env drivers.Env) (drivers.Finder, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	log, now := env.Log, env.Now
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	return &finder{cfg: cfg, now: now, log: log, often: ratelog.New(log, time.Second, now), every: scanEvery,
		boards: map[string]*board{}, open: map[string]bool{}, left: map[string]leftPort{}, spoke: map[string]stamp{}}, nil
}

// finder opens the ports that it may and keeps the sessions of the boards there.
type finder struct {
	cfg   Config
	now   func() time.Time
	log   *slog.Logger
	often *ratelog.Log  // for what boards can cause
	every time.Duration // between two scans

	mu     sync.Mutex // guards the rest
	boards map[string]*board
	open   map[string]bool     // ports that are being visited, by path
	left   map[string]leftPort // ports at which there is nothing to do
	spoke  map[string]stamp    // ports at which there has been a node
}

// board is a node that is there or that a driver serves or waits for, by its serial
// number.
type board struct {
	session *session      // nil while it is not there
	port    string        // that the hub knows it to be at; "" = none
	changed chan struct{} // closed when session or port changes
	drivers int           // that serve it or wait for it
}

// leftPort is a port that was left.
type leftPort struct {
	stamp stamp
	until time.Time // zero: as long as it stays what it is
}

// stamp tells a port from another one that has got its name.
type stamp struct {
	rdev, ino uint64
	changed   syscall.Timespec
}

// stampOf returns the stamp of a port; false where there is none, or something that
// is no device.
func stampOf(path string) (s stamp, ok bool) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil || st.Mode&syscall.S_IFMT != syscall.S_IFCHR {
		return s, false
	}
	return stamp{uint64(st.Rdev), st.Ino, st.Ctim}, true
}

// Run implements drivers.Finder.
func (f *finder) Run(ctx context.Context, found drivers.Found) error {
	var visits sync.WaitGroup
	defer visits.Wait()
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	for {
		for path, at := range f.fresh() {
			visits.Go(func() {
				how := wait
				err := drivers.Contain(func() error { how = f.visit(ctx, found, path); return nil })
				var p *drivers.PanicError
				if errors.As(err, &p) {
					f.log.Error("serving a port panicked", "port", path, "panic", p.Error(), "stack", string(p.Stack))
				}
				f.leave(path, at, how)
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// fresh returns the ports that are to be visited now, and notes that they are.
func (f *finder) fresh() map[string]stamp {
	list := map[string]stamp{}
	present := f.present()
	f.mu.Lock()
	defer f.mu.Unlock()
	gone := func(path string) bool { return !slices.Contains(present, path) }
	maps.DeleteFunc(f.left, func(path string, _ leftPort) bool { return gone(path) })
	maps.DeleteFunc(f.spoke, func(path string, _ stamp) bool { return gone(path) })
	for _, path := range present {
		if f.open[path] {
			continue
		}
		at, there := stampOf(path)
		l, left := f.left[path]
		if !there || left && at == l.stamp && (l.until.IsZero() || f.now().Before(l.until)) {
			continue
		}
		if len(f.open) >= maxPorts {
			f.often.Warn("too many serial ports, others are not looked at", "most", maxPorts)
			break
		}
		f.open[path] = true
		list[path] = at
	}
	return list
}

// present returns the device nodes that are there and may be opened.
func (f *finder) present() (list []string) {
	for _, pattern := range f.cfg.Ports {
		// The pattern has been checked.
		paths, _ := filepath.Glob(pattern)
		for _, p := range paths {
			if node, err := filepath.EvalSymlinks(p); err == nil {
				list = append(list, node)
			}
		}
	}
	if len(f.cfg.USB) > 0 {
		infos, err := serialport.List(serialport.Roots{})
		if err != nil {
			f.often.Warn("serial ports cannot be listed", "error", err)
		}
		for _, i := range infos {
			if slices.ContainsFunc(f.cfg.USB, func(u string) bool { return strings.EqualFold(u, i.USB) }) {
				list = append(list, i.Path)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// parting says when a port that was visited is visited again.
type parting uint8

const (
	lost   parting = iota // at once, if it is there
	wait                  // after retryAfter, or when it has become another
	silent                // when it has become another; if a node was there, as wait
)

// leave notes that a port is not visited any more.
func (f *finder) leave(path string, at stamp, how parting) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, path)
	if how == silent && f.spoke[path] == at {
		how = wait
	}
	switch {
	case how == lost:
	case how == wait:
		f.left[path] = leftPort{at, f.now().Add(retryAfter)}
	default:
		f.left[path] = leftPort{stamp: at}
	}
}

// knock opens a port. c is nil if that cannot be, and how says when it is tried again.
func (f *finder) knock(ctx context.Context, path string) (c *serialport.Conn, how parting) {
	port, err := serialport.New(serialport.Config{Path: path}, f.cfg.Line, serialport.Roots{}, f.log)
	if err != nil {
		f.log.Error("port cannot be used", "port", path, "error", err)
		return nil, silent
	}
	c, err = port.Open(ctx)
	switch {
	case err == nil:
		return c, lost
	case errors.Is(err, drivers.ErrOffline) && !errors.Is(err, syscall.EACCES) && !errors.Is(err, syscall.EPERM):
		// Gone while it was opened, most likely.
		f.log.Debug("port not opened", "port", path, "error", err)
		return nil, lost
	}
	f.often.Warn("port not opened", "port", path, "error", err)
	return nil, wait
}

// visit opens a port and serves the board there until it is lost.
func (f *finder) visit(ctx context.Context, found drivers.Found, path string) parting {
	c, how := f.knock(ctx, path)
	if c == nil {
		return how
	}
	defer func() {
		if err := c.Close(); err != nil {
			f.log.Warn("port is slow to close", "port", path, "error", err)
		}
	}()
	l := &listener{conn: c}
	there := "" // serial number of the board that is this port's
	vanish := func() {
		if there != "" {
			f.vanish(ctx, found, there)
		}
		there = ""
	}
	defer vanish()
	for {
		r, desc, err := greet(ctx, l)
		switch {
		case ctx.Err() != nil, errors.Is(err, drivers.ErrOffline):
			return lost
		case err != nil:
			f.log.Info("no node at this port", "port", path, "error", err)
			return silent
		}
		if r.serial == "" {
			r.serial = adapter(path)
		}
		if r.serial == "" {
			f.log.Warn("node without a serial number is left out", "port", path, "model", r.model)
			return silent
		}
		s := newSession(c, path, r, desc, f.now, f.often)
		if r.serial != there {
			vanish()
		}
		if !f.arrive(ctx, s) {
			f.log.Warn("another node has the serial number too, this one is left out", "node", s.serial, "port", path)
			return wait
		}
		there = s.serial
		err = f.serve(ctx, found, s, l)
		var panicked *drivers.PanicError
		if err != errRestarted && err != errDead && !errors.As(err, &panicked) {
			return lost
		}
		// One that starts again and again does not get all of the processor.
		pause(ctx, restartGap)
	}
}

var noSerial = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// adapter returns the serial number of the port's USB adapter, "" if it has none.
func adapter(path string) string {
	// Without a list there is no serial number either.
	infos, _ := serialport.List(serialport.Roots{})
	for _, i := range infos {
		if i.Path == path {
			return noSerial.ReplaceAllString(i.Serial, "_")
		}
	}
	return ""
}

// serve reports a board to the hub and takes what it says until it is lost.
func (f *finder) serve(ctx context.Context, found drivers.Found, s *session, l *listener) error {
	reporting, cancel := context.WithCancel(ctx)
	defer cancel()
	var report sync.WaitGroup
	report.Go(func() {
		if err := found.Appeared(reporting, f.candidate(s)); err != nil && reporting.Err() == nil {
			f.often.Warn("node is not taken in", "node", s.serial, "port", s.path, "error", err)
		}
	})
	// A panic is told to the hub by the board's driver.
	err := drivers.Contain(func() error { return s.serve(ctx, l) })
	if ctx.Err() != nil {
		err = errStopped
	}
	f.depart(s)
	s.end(err)
	cancel()
	report.Wait()
	return err
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// candidate returns the board as the hub gets to know it.
func (f *finder) candidate(s *session) drivers.Candidate {
	var names []string
	for _, p := range s.desc.Points {
		names = append(names, p.ID)
	}
	for _, a := range s.desc.Actions {
		names = append(names, a.ID+"()")
	}
	name := strings.NewReplacer(".", "_", "-", "_").Replace(strings.ToLower(s.serial))
	return drivers.Candidate{
		Kind: "node", ID: s.serial, Name: "node_" + name, Model: s.desc.Model, Returns: true,
		Description: strings.Join(names, ", ") + " at " + s.path,
		New: func(drivers.Env) (drivers.Driver, error) {
			return &driver{finder: f, serial: s.serial, desc: s.desc}, nil
		},
	}
}

// at returns the board with that serial number; f.mu is held.
func (f *finder) at(serial string) *board {
	b := f.boards[serial]
	if b == nil {
		b = &board{changed: make(chan struct{})}
		f.boards[serial] = b
	}
	return b
}

// arrive makes s the session of its board. Where the board is at another port it
// waits a little: that port may not have noticed yet that it is gone.
func (f *finder) arrive(ctx context.Context, s *session) bool {
	late := time.NewTimer(yieldTime)
	defer late.Stop()
	for {
		f.mu.Lock()
		b := f.at(s.serial)
		if b.port == "" || b.port == s.path {
			b.port = s.path
			f.change(b, s)
			if at, there := stampOf(s.path); there {
				f.spoke[s.path] = at
			}
			f.mu.Unlock()
			return true
		}
		changed := b.changed
		f.mu.Unlock()
		select {
		case <-changed:
		case <-late.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// vanish reports that a board is gone, and only then lets another port have it: the
// hub hears of both in this order.
func (f *finder) vanish(ctx context.Context, found drivers.Found, serial string) {
	if ctx.Err() == nil {
		found.Vanished(ctx, "node", serial)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.at(serial)
	b.port = ""
	f.change(b, nil)
	f.tidy(serial)
}

// depart takes the session of a board away; the board stays its port's.
func (f *finder) depart(s *session) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.change(f.at(s.serial), nil)
}

// change tells those who wait for a board; f.mu is held.
func (f *finder) change(b *board, s *session) {
	b.session = s
	close(b.changed)
	b.changed = make(chan struct{})
}

// tidy forgets a board that is not there and that nobody waits for; f.mu is held.
func (f *finder) tidy(serial string) {
	if b := f.boards[serial]; b != nil && b.port == "" && b.drivers == 0 {
		delete(f.boards, serial)
	}
}

// await returns the session of the board once there is one with that description,
// or nil when ctx has ended. Whoever gets one calls release.
func (f *finder) await(ctx context.Context, serial string, desc *drivers.Description) *session {
	f.mu.Lock()
	b := f.at(serial)
	b.drivers++
	for {
		s, changed := b.session, b.changed
		f.mu.Unlock()
		if ctx.Err() == nil && s != nil && reflect.DeepEqual(&s.desc, desc) {
			return s
		}
		select {
		case <-changed:
		case <-ctx.Done():
			f.release(serial)
			return nil
		}
		f.mu.Lock()
	}
}

// release says that a driver does not serve the board any more.
func (f *finder) release(serial string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.boards[serial].drivers--
	f.tidy(serial)
}
