package transport

import (
	"crypto/tls"
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

// tryWrite writes once what is left of the flight. It never waits.
func (l *link) tryWrite(fd uintptr) bool {
	for {
		var n int
		var err error
		if len(l.left) == 1 {
			n, err = unix.Write(int(fd), l.left[0])
		} else {
			n, err = unix.Writev(int(fd), l.left[:min(len(l.left), maxVector)])
		}
		switch err {
		case nil:
			l.writeN = n
			if n == 0 {
				l.writeE = io.ErrShortWrite
			}
			return true
		case unix.EAGAIN:
			return true
		case unix.EINTR:
		default:
			l.writeE = &net.OpError{Op: "write", Net: "socket", Addr: l.conn.RemoteAddr(), Err: err}
			return true
		}
	}
}

// maxVector is how many pieces go into one system call (UIO_MAXIOV is 1024).
const maxVector = 64

// tune sets what a dead host is noticed by: unacknowledged data and keepalive
// probes give up after limit. Errors are of no consequence.
func tune(conn net.Conn, limit time.Duration) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	_ = c.SetNoDelay(true)
	if limit <= 0 {
		return
	}
	third := max(limit/3, time.Second)
	_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: third, Interval: third, Count: 2})
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(limit.Milliseconds()))
	})
}
