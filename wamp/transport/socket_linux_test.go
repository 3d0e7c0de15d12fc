package transport

import (
	"context"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// accepted returns the server's end of a connection to ln.
func accepted(t *testing.T, ln net.Listener) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s.(*net.TCPConn)
}

func TestDeadHostsAreNoticed(t *testing.T) {
	t.Parallel()
	const limit = 15 * time.Second
	check := func(c *net.TCPConn) {
		t.Helper()
		err := rawConn(c).Control(func(fd uintptr) {
			for option, want := range map[int]int{unix.TCP_KEEPIDLE: 5, unix.TCP_KEEPINTVL: 5, unix.TCP_KEEPCNT: probes} {
				if n, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, option); n != want || err != nil {
					t.Errorf("option %d is %d, expected %d: %v", option, n, want, err)
				}
			}
			if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE); n != 1 || err != nil {
				t.Errorf("keepalive is %d: %v", n, err)
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
	for _, keepAlive := range []time.Duration{-1, 0} {
		lc := net.ListenConfig{KeepAlive: keepAlive}
		ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ln.Close() }()
		c := accepted(t, ln)
		opts, err := Options{}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		l := &link{}
		l.init(c, &opts, nil)
		l.tune(limit)
		check(c)
		if tuneListener(ln, limit); keepAlive < 0 {
			check(accepted(t, ln)) // as it has been born
		}
	}
}
