package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gantry/internal/keypair"
	"gantry/wamp/transport"
)

// listen opens the ports, so that a taken one ends the start before a device
// has been touched.
func (r *run) listen(ctx context.Context) error {
	lc := net.ListenConfig{KeepAlive: -1} // the transport and the MQTT listener see to it
	open := func(network, addr, key string) (net.Listener, error) {
		ln, err := lc.Listen(ctx, network, addr)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if !strings.HasPrefix(key, "mqtt.") {
			r.listeners = append(r.listeners, ln)
		}
		return ln, nil
	}
	if r.mqttd != nil && r.cfg.MQTT.Listen != "" {
		ln, err := open("tcp", r.cfg.MQTT.Listen, "mqtt.listen")
		if err != nil {
			return err
		}
		r.addrs.MQTT = ln.Addr().String()
		r.mqttListeners = append(r.mqttListeners, ln)
	}
	if r.mqttd != nil && r.cfg.MQTT.ListenTLS != "" {
		ln, err := open("tcp", r.cfg.MQTT.ListenTLS, "mqtt.listen_tls")
		if err != nil {
			return err
		}
		encryption, err := r.tlsConfig()
		if err != nil {
			return err
		}
		r.addrs.MQTTS = ln.Addr().String()
		r.mqttListeners = append(r.mqttListeners, tls.NewListener(ln, encryption))
	}
	if r.cfg.Listen.HTTP != "" {
		ln, err := open("tcp", r.cfg.Listen.HTTP, "listen.http")
		if err != nil {
			return err
		}
		r.addrs.HTTP = ln.Addr().String()
	}
	if r.cfg.Listen.Unix == "" {
		return nil
	}
	path := r.cfg.Listen.Unix
	if !filepath.IsAbs(path) {
		path = filepath.Join(r.state, path)
	}
	// What a killed gateway left; the store's lock says that it is gone.
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("listen.unix: %w", err)
		}
	}
	if _, err := open("unix", path, "listen.unix"); err != nil {
		return err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return fmt.Errorf("listen.unix: %w", err)
	}
	// Absolute for whoever connects from another directory; a socket's own path has
	// room for 107 bytes only.
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("listen.unix: %w", err)
	}
	r.addrs.Unix = abs
	return nil
}

// tlsConfig returns the configuration for listen.tls; nil without one.
func (g *Gateway) tlsConfig() (*tls.Config, error) {
	t := g.cfg.Listen.TLS
	if t.Cert == "" {
		return nil, nil
	}
	pair := keypair.New(t.Cert, t.Key)
	if _, err := pair.Get(nil); err != nil {
		return nil, fmt.Errorf("listen.tls: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.Get}
	for _, u := range g.cfg.Users {
		if len(u.Certificates) > 0 {
			// Whoever signed them: users are known by fingerprint.
			c.ClientAuth = tls.RequestClientCert
		}
	}
	return c, nil
}

// checkHost says whether a Host header may be meant for this gateway. A web page
// of somebody else's domain that points to this machine is told apart by it.
func checkHost(names []string) func(host string) bool {
	return func(host string) bool {
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
		if _, err := netip.ParseAddr(host); err == nil || host == "localhost" || strings.HasSuffix(host, ".localhost") {
			return true
		}
		name, err := os.Hostname()
		own := err == nil && (strings.EqualFold(host, name) || strings.EqualFold(host, name+".local"))
		return own || slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, host) })
	}
}

// newServer makes the server of the network and of the Unix socket.
func (g *Gateway) newServer() error {
	l := g.cfg.Listen
	encryption, err := g.tlsConfig()
	if err != nil {
		return err
	}
	cfg := transport.ServerConfig{
		Options: transport.Options{
			MaxMessage: g.cfg.Limits.MessageBytes, MaxHello: g.cfg.Limits.HelloBytes, Queue: g.cfg.Limits.QueueBytes,
			Linger:   frontLimit * 2 / 5, // twice it may pass when nobody reads, without holding up the shutdown
			MaxDepth: g.cfg.Limits.Depth, MaxElements: g.cfg.Limits.Elements,
			PingInterval: l.PingInterval, PingTimeout: l.PingTimeout, WriteTimeout: l.WriteTimeout, HandshakeTimeout: l.HandshakeTimeout,
			MessageTimeout: l.MessageTimeout, QuietRawSocket: l.QuietRawSocket,
			Batched: l.Batched, Deflate: l.Deflate, DeflateFrom: l.DeflateFrom,
		},
		MaxConns: g.cfg.Limits.Connections, MaxHalfOpen: g.cfg.Limits.HalfOpen, Memory: g.memory,
		Cookie:   transport.CookieConfig{Name: l.Cookie.Name, MaxAge: cookieAge(l.Cookie)},
		LongPoll: transport.LongPollConfig{Off: l.LongPoll.Off, Path: l.LongPoll.Path, MaxSessions: l.LongPoll.Sessions, Wait: l.LongPoll.Wait, Idle: l.LongPoll.Idle},
		HTTP:     g.handler(), HTTPTimeout: l.HTTPTimeout, Origins: l.Origins, CheckHost: checkHost(l.Hosts), TLS: encryption,
	}
	g.server, err = transport.NewServer(cfg, g.router.Admit, g.log.With("room", "transport"))
	return err
}
