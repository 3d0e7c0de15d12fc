package transport

import (
	"crypto/tls"
	"net"

	"gantry/wamp"
)

// peerInfo describes the other end of conn.
func peerInfo(conn net.Conn, transport string, f wamp.Format, maxSend int) wamp.PeerInfo {
	info := wamp.PeerInfo{Transport: transport, Format: f, MaxSend: maxSend, Encrypted: encrypted(conn)}
	switch a := conn.RemoteAddr().(type) {
	case *net.TCPAddr:
		info.Remote, info.Local = a.String(), a.IP.IsLoopback()
	case *net.UnixAddr:
		info.Local = true
		if info.Remote = a.String(); info.Remote == "" || info.Remote == "@" {
			info.Remote = "unix"
		}
	case nil:
	default:
		info.Remote = a.String()
	}
	return info
}

func encrypted(conn net.Conn) bool {
	_, ok := conn.(interface{ ConnectionState() tls.ConnectionState })
	return ok
}
