package websocket

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"syscall"
)

// Listen opens the listener for the URL of a WebSocket; its path plays no part:
// that is the http.ServeMux's to look at. cfg is the TLS configuration for wss, with
// a certificate. A socket file that a program which has ended left behind is
// replaced. The error is a *URLError for a wrong URL.
func Listen(ctx context.Context, rawURL string, cfg *tls.Config) (net.Listener, error) {
	u, err := ParseURL(rawURL)
	if err != nil {
		return nil, err
	}
	if u.TLS && (cfg == nil || len(cfg.Certificates) == 0 && cfg.GetCertificate == nil) {
		return nil, &URLError{redacted(rawURL), "expected a TLS configuration with a certificate"}
	}
	ln, err := ListenStream(ctx, u.Network, u.Addr)
	if err != nil || !u.TLS {
		return ln, err
	}
	cfg = cfg.Clone()
	cfg.NextProtos = []string{"http/1.1"}
	return tls.NewListener(ln, cfg), nil
}

// ListenStream opens a listener for a network, "tcp" or "unix", without anything
// on it. A socket file that a program which has ended left behind is replaced.
func ListenStream(ctx context.Context, network, addr string) (net.Listener, error) {
	if network == "unix" {
		removeStale(addr)
	}
	var lc net.ListenConfig
	return lc.Listen(ctx, network, addr)
}

// removeStale removes a socket at which nobody listens.
func removeStale(file string) {
	info, err := os.Lstat(file)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return
	}
	c, err := net.Dial("unix", file)
	if err == nil {
		_ = c.Close()
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		_ = os.Remove(file) // if that fails, so does listening
	}
}
