package transport

import (
	"io"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// rawConn returns the means to read and write conn without waiting, nil if it is
// not a plain socket.
func rawConn(conn net.Conn) syscall.RawConn {
	var raw syscall.RawConn
	var err error
	switch c := conn.(type) {
	case *net.TCPConn:
		raw, err = c.SyscallConn()
	case *net.UnixConn:
		raw, err = c.SyscallConn()
	default:
		return nil
	}
	if err != nil {
		return nil
	}
	return raw
}

// tryRead reads once into l.in. While there is nothing to read it holds no
// buffer and returns false, which waits.
func (l *link) tryRead(fd uintptr) bool {
	for {
		n, err := unix.Read(int(fd), l.ready())
		switch err {
		case nil:
			l.readN = n
			return true
		case unix.EAGAIN:
			l.idleInput()
			return false
		case unix.EINTR:
		default:
			l.readE = &net.OpError{Op: "read", Net: "socket", Addr: l.conn.RemoteAddr(), Err: err}
			return true
		}
	}
}

// once writes once. It never waits.
func (w *attempt) once(fd uintptr) bool {
	for {
		var n int
		var err error
		if len(w.segs) == 1 {
			n, err = unix.Write(int(fd), w.segs[0])
		} else {
			n, err = unix.Writev(int(fd), w.segs[:min(len(w.segs), maxVector)])
		}
		switch err {
		case nil:
			w.n = n
			if n == 0 {
				w.err = io.ErrShortWrite
			}
			return true
		case unix.EAGAIN:
			return true
		case unix.EINTR:
		default:
			w.err = err
			return true
		}
	}
}

// maxVector is how many pieces go into one system call (UIO_MAXIOV is 1024).
const maxVector = 64

// probes is how many unanswered keepalive probes mean that a host is dead.
const probes = 2

// tune sets what a dead host is noticed by: unacknowledged data and keepalive
// probes give up after limit. Errors are of no consequence.
func (l *link) tune(limit time.Duration) {
	raw := l.raw
	if raw == nil { // TLS
		raw = rawConn(l.under)
	}
	if _, ok := l.conn.RemoteAddr().(*net.TCPAddr); !ok || raw == nil || limit <= 0 {
		return
	}
	_ = raw.Control(func(fd uintptr) { patience(int(fd), limit) })
}

// patience is tune for a socket. Those that a tuned listener has accepted are so by
// birth.
func patience(fd int, limit time.Duration) {
	third := int(max(limit/3, time.Second).Seconds())
	count, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT)
	idle, err2 := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
	if err == nil && err2 == nil && count == probes && idle == third {
		return
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, third)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, third)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, probes)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(limit.Milliseconds()))
}

// tuneListener tunes what ln will accept, which saves each connection the system
// calls; a listener opened with net.ListenConfig.KeepAlive < 0 leaves it so.
func tuneListener(ln net.Listener, limit time.Duration) {
	tcp, ok := ln.(*net.TCPListener)
	if !ok || limit <= 0 {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { patience(int(fd), limit) })
	}
}
