//go:build linux

package broker

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Prompt has TCP acknowledge at once what has come. A broker that leaves Nagle's
// algorithm on, as Mosquitto does by default, sends its next message only then, and
// TCP waits for the PUBACK to go with it. It lasts for a few segments. Over WebSocket
// it does nothing.
func (g *Guard) Prompt() {
	nc := g.Conn
	if secure, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = secure.NetConn()
	}
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	// It fails on what is no TCP, where nothing waits either.
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) })
}
