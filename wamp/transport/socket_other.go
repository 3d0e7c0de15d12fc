//go:build !linux

package transport

import (
	"net"
	"syscall"
	"time"
)

// rawConn returns nil: connections are read and written by package net.
func rawConn(net.Conn) syscall.RawConn { return nil }

func (l *link) tryRead(uintptr) bool  { return true }
func (l *link) tryWrite(uintptr) bool { return true }

// tune sets TCP_NODELAY and keepalive probes that give up after limit.
func tune(conn net.Conn, limit time.Duration) {
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	_ = c.SetNoDelay(true)
	if limit > 0 {
		third := max(limit/3, time.Second)
		_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: third, Interval: third, Count: 2})
	}
}
