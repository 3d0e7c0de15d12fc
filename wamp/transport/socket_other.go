//go:build !linux

package transport

import (
	"net"
	"syscall"
	"time"
)

// rawConn returns nil: connections are read and written by package net.
func rawConn(net.Conn) syscall.RawConn { return nil }

func (l *link) tryRead(uintptr) bool { return true }
func (w *attempt) once(uintptr) bool { return true }

// tune sets keepalive probes that give up after limit.
func (l *link) tune(limit time.Duration) {
	if c, ok := l.under.(*net.TCPConn); ok && limit > 0 {
		third := max(limit/3, time.Second)
		_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: third, Interval: third, Count: 2})
	}
}

func tuneListener(net.Listener, time.Duration) {}
