package transport

import (
	"crypto/tls"
	"net"

	"gantry/wamp"
)

// peerInfo describes the other end of conn.
func peerInfo(conn net.Conn, transport string, f wamp.Format, maxSend int) wamp.PeerInfo {
	info := wamp.PeerInfo{Transport: transport, Format: f, MaxSend: maxSend, TLS: tlsState(conn)}
	info.Encrypted = info.TLS != nil
	remote := conn.RemoteAddr()
	if remote != nil {
		info.Remote = remoteText(remote)
	}
	switch a := remote.(type) {
	case *net.TCPAddr:
		info.Local = a.IP.IsLoopback()
	case *net.UnixAddr:
		info.Local = true
	}
	return info
}

// tlsState returns the state of a TLS connection, whose handshake has been done
// by whoever read the first octet; nil for any other.
func tlsState(conn net.Conn) *tls.ConnectionState {
	if c, ok := conn.(interface{ ConnectionState() tls.ConnectionState }); ok {
		state := c.ConnectionState()
		return &state
	}
	return nil
}
