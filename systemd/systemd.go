// Package systemd tells the service manager about the gateway: that it is
// ready, reloads, stops and is alive (sd_notify(3), sd_watchdog_enabled(3)), and
// whether the journal reads its output. Without a service manager everything
// here does nothing.
//
// The folder also holds the unit, the users, the device rules and the package
// description that go with it.
package systemd

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Notifier sends the gateway's state to the service manager. It is safe for
// concurrent use.
type Notifier struct {
	addr     *net.UnixAddr // nil: nobody listens
	watchdog time.Duration // 0: off
}

// New reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID from getenv, which is
// usually os.Getenv. It opens nothing. Values that the service manager would not
// have written are an error.
func New(getenv func(string) string) (*Notifier, error) {
	n := &Notifier{}
	if name := getenv("NOTIFY_SOCKET"); name != "" {
		switch name[0] {
		case '/':
		case '@': // abstract socket: the package net takes the same notation
		default:
			return nil, fmt.Errorf("NOTIFY_SOCKET %q: neither a path nor an abstract socket", name)
		}
		n.addr = &net.UnixAddr{Name: name, Net: "unixgram"}
	}
	usec := getenv("WATCHDOG_USEC")
	if usec == "" {
		return n, nil
	}
	if pid := getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return n, nil // meant for another process of the service
	}
	v, err := strconv.ParseUint(usec, 10, 63)
	if err != nil || v == 0 || v > uint64((24*time.Hour)/time.Microsecond) {
		return nil, fmt.Errorf("WATCHDOG_USEC %q: not a number of microseconds up to a day", usec)
	}
	n.watchdog = time.Duration(v) * time.Microsecond
	return n, nil
}

// Ready says that start or reload is complete.
func (n *Notifier) Ready() error { return n.send("READY=1") }

// Stopping says that the shutdown has begun.
func (n *Notifier) Stopping() error { return n.send("STOPPING=1") }

// Reloading says that the configuration is being read again; Ready ends it.
func (n *Notifier) Reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return os.NewSyscallError("clock_gettime", err)
	}
	return n.send(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000))
}

// Status sets the line that systemctl status shows.
func (n *Notifier) Status(text string) error {
	return n.send("STATUS=" + strings.ReplaceAll(text, "\n", " "))
}

// Watchdog returns the time after which the service manager takes a silent
// gateway for dead; 0 when it does not watch.
func (n *Notifier) Watchdog() time.Duration { return n.watchdog }

// Run keeps the watchdog content until ctx ends: twice in its interval it asks
// alive, and while that returns nil it reports the gateway alive. alive must
// answer within half the interval. A failed report is returned at once.
func (n *Notifier) Run(ctx context.Context, alive func(context.Context) error) error {
	if n.watchdog == 0 || n.addr == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(n.watchdog / 2)
	defer tick.Stop()
	for {
		if alive(ctx) == nil && ctx.Err() == nil {
			if err := n.send("WATCHDOG=1"); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (n *Notifier) send(state string) error {
	if n.addr == nil {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, n.addr)
	if err != nil {
		return fmt.Errorf("notify service manager: %w", err)
	}
	defer c.Close()
	// The manager reads its socket at its leisure; never wait for it for long.
	if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return fmt.Errorf("notify service manager: %w", err)
	}
	if _, err := c.Write([]byte(state)); err != nil {
		return fmt.Errorf("notify service manager: %w", err)
	}
	return nil
}

// InJournal reports whether f, usually os.Stderr, is read by the journal, which
// stamps every line itself. journalStream is the environment's JOURNAL_STREAM,
// "device:inode" (systemd.exec(5)).
func InJournal(f *os.File, journalStream string) bool {
	if journalStream == "" {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && journalStream == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}
