package websocket

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// proxied asks Dialer.Proxy for the proxy on the way to u, nil if there is none.
func (d *Dialer) proxied(u URL) (*url.URL, error) {
	if d.Proxy == nil || u.Network == "unix" {
		return nil, nil
	}
	target, err := url.Parse(u.http())
	if err != nil {
		return nil, err
	}
	// What net/http and its environment variables know.
	target.Scheme = strings.Replace(target.Scheme, "ws", "http", 1)
	return d.Proxy(&http.Request{Method: http.MethodGet, URL: target, Host: target.Host, Header: http.Header{}})
}

// tunnel opens a connection to addr through a proxy (RFC 9110, 9.3.6). Errors are
// *ProxyError.
func (o *opening) tunnel(ctx context.Context, proxy *url.URL, addr string) (net.Conn, error) {
	fault := func(err error) error {
		return &ProxyError{Proxy: proxy.Redacted(), Text: err.Error(), Err: err}
	}
	port := proxy.Port()
	switch {
	case proxy.Scheme != "http" && proxy.Scheme != "https":
		return nil, fault(fmt.Errorf("scheme %q, expected http or https", proxy.Scheme))
	case port == "" && proxy.Scheme == "http":
		port = "80"
	case port == "":
		port = "443"
	}
	c, err := o.connect(ctx, "tcp", net.JoinHostPort(proxy.Hostname(), port))
	if err != nil {
		return nil, fault(err)
	}
	if proxy.Scheme == "https" {
		tc := tls.Client(c, clientTLS(o.d.ProxyTLS, proxy.Hostname()))
		if err := tc.HandshakeContext(ctx); err != nil {
			_ = c.Close()
			return nil, fault(err)
		}
		c = tc
	}
	if err := askProxy(c, proxy, addr); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// askProxy has the proxy at the other end of c connect to addr.
func askProxy(c net.Conn, proxy *url.URL, addr string) error {
	fault := func(status int, err error) error {
		return &ProxyError{Proxy: proxy.Redacted(), Status: status, Text: err.Error(), Err: err}
	}
	request := "CONNECT " + addr + " HTTP/1.1\r\nHost: " + addr + "\r\n"
	if proxy.User != nil {
		password, _ := proxy.User.Password()
		login := base64.StdEncoding.EncodeToString([]byte(proxy.User.Username() + ":" + password))
		request += "Proxy-Authorization: Basic " + login + "\r\n"
	}
	if _, err := io.WriteString(c, request+"\r\n"); err != nil {
		return fault(0, err)
	}
	br := bufio.NewReader(io.LimitReader(c, maxResponse))
	resp, err := http.ReadResponse(br, &http.Request{Method: http.MethodConnect})
	switch {
	case err != nil:
		return fault(0, err)
	case resp.StatusCode != http.StatusOK:
		return fault(resp.StatusCode, fmt.Errorf("answered %s to CONNECT %s, expected 200", resp.Status, addr))
	case br.Buffered() > 0:
		return fault(resp.StatusCode, errors.New("sent data before it was its turn"))
	}
	return nil
}
