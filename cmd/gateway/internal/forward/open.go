package forward

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"

	"gantry/drivers/serialport"
	"gantry/internal/backoff"
	"gantry/internal/keypair"
	"gantry/wamp/websocket"
)

// maxForwarded bounds a message that is forwarded; it is never in memory as a whole.
const maxForwarded = 1 << 30

// defaultSubprotocols are those of websockify.
var defaultSubprotocols = []string{"binary", "base64"}

// wsConfig is that of WebSockets on both sides.
func (fw *Forwarder) wsConfig() websocket.Config {
	cfg := websocket.Config{MaxMessage: maxForwarded, Deflate: fw.cfg.Compress}
	if fw.cfg.Trace {
		cfg.Trace = websocket.TraceTo(fw.cfg.Err, false)
	}
	return cfg
}

// encoding returns how bytes become messages on c.
func (fw *Forwarder) encoding(c *websocket.Conn) websocket.StreamEncoding {
	switch {
	case c.Subprotocol() == "base64":
		return websocket.StreamBase64
	case fw.cfg.Text:
		return websocket.StreamText
	}
	return websocket.StreamBinary
}

// newDialer returns what opens the target.
func (fw *Forwarder) newDialer() (func(context.Context) (stream, error), error) {
	e := fw.to
	encryption, err := fw.dialTLS()
	if err != nil {
		return nil, err
	}
	switch e.kind {
	case "tcp", "unix":
		return func(ctx context.Context) (stream, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, e.kind, e.addr)
			if err != nil {
				return nil, err
			}
			return c.(stream), nil
		}, nil
	case "tls":
		return func(ctx context.Context) (stream, error) {
			c, err := (&tls.Dialer{Config: encryption}).DialContext(ctx, "tcp", e.addr)
			if err != nil {
				return nil, err
			}
			return c.(stream), nil
		}, nil
	case "ws":
		return fw.newWSDialer(encryption), nil
	case "serial":
		port, err := serialport.New(e.port, e.line, serialport.Roots{}, nil)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) (stream, error) { return newSerialStream(ctx, port) }, nil
	}
	var once sync.Once
	return func(context.Context) (s stream, err error) {
		err = errors.New("standard input and output are taken: they are for one connection")
		once.Do(func() { s, err = newStdioStream(fw.cfg.In, fw.cfg.Out), nil })
		return s, err
	}, nil
}

func (fw *Forwarder) newWSDialer(encryption *tls.Config) func(context.Context) (stream, error) {
	d := &websocket.Dialer{Config: fw.wsConfig(), Subprotocols: fw.cfg.Subprotocols, Header: fw.header,
		TLS: encryption, Timeout: fw.cfg.Timeout, Proxy: fw.proxy}
	return func(ctx context.Context) (stream, error) {
		c, err := d.Dial(ctx, fw.to.ws.String())
		if err != nil {
			return nil, err
		}
		return c.Stream(fw.encoding(c)), nil
	}
}

// dialTLS returns the configuration of a dialling end.
func (fw *Forwarder) dialTLS() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: fw.cfg.ServerName, InsecureSkipVerify: fw.cfg.Insecure}
	if fw.cfg.CA == "" {
		return cfg, nil
	}
	pool, err := readPool("--ca", fw.cfg.CA)
	cfg.RootCAs = pool
	return cfg, err
}

// readPool reads certificates of authorities.
func readPool(flag, file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s %s: no certificate in it, expected PEM", flag, file)
	}
	return pool, nil
}

// listenTLS returns the configuration of a listening end, nil without TLS.
func (fw *Forwarder) listenTLS() (*tls.Config, error) {
	if !fw.from.tls() {
		return nil, nil
	}
	pair := keypair.New(fw.cfg.Cert, fw.cfg.Key)
	if _, err := pair.Get(nil); err != nil {
		return nil, fmt.Errorf("--cert, --key: %w", err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.Get}
	if fw.cfg.ClientCA != "" {
		pool, err := readPool("--client-ca", fw.cfg.ClientCA)
		if err != nil {
			return nil, err
		}
		cfg.ClientCAs, cfg.ClientAuth = pool, tls.RequireAndVerifyClientCert
	}
	return cfg, nil
}

// handler carries one connection and closes it.
type handler func(ctx context.Context, in stream, peer string) error

// serve opens LISTEN and hands each connection to handle until ctx ends.
func (fw *Forwarder) serve(ctx context.Context, handle handler) error {
	switch fw.from.kind {
	case "stdio":
		return handle(ctx, newStdioStream(fw.cfg.In, fw.cfg.Out), "stdio:")
	case "serial":
		return fw.serveSerial(ctx, handle)
	}
	encryption, err := fw.listenTLS()
	if err != nil {
		return err
	}
	if fw.from.kind == "ws" {
		return fw.serveWS(ctx, encryption, handle)
	}
	network := strings.Replace(fw.from.kind, "tls", "tcp", 1)
	ln, err := websocket.ListenStream(ctx, network, fw.from.addr)
	if err != nil {
		return err
	}
	fw.listening(fw.from.kind + ":" + ln.Addr().String())
	return fw.accept(ctx, ln, encryption, handle)
}

// accept hands each connection to handle, in a goroutine of its own.
func (fw *Forwarder) accept(ctx context.Context, ln net.Listener, encryption *tls.Config, handle handler) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	pause := backoff.New(backoff.Config{}, nil)
	for {
		c, err := ln.Accept()
		switch {
		case err == nil:
			pause.Reset()
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default: // out of descriptors, as a rule
			fw.log.Warn("connection cannot be accepted", "error", err)
			_ = pause.Wait(ctx)
			continue
		}
		peer := c.RemoteAddr().String()
		if !fw.enter(peer) {
			_ = c.Close()
			continue
		}
		running.Go(func() {
			defer fw.leave()
			if s, ok := fw.open(ctx, c, encryption, peer); ok {
				_ = handle(ctx, s, peer) // what can be told has been
			}
		})
	}
}

// open does the TLS handshake of an accepted connection.
func (fw *Forwarder) open(ctx context.Context, c net.Conn, encryption *tls.Config, peer string) (stream, bool) {
	if encryption == nil {
		return c.(stream), true
	}
	ctx, cancel := context.WithTimeout(ctx, fw.cfg.Timeout)
	defer cancel()
	tc := tls.Server(c, encryption)
	if err := tc.HandshakeContext(ctx); err != nil {
		fw.log.Info("TLS handshake has failed", "from", peer, "error", err)
		_ = c.Close()
		return nil, false
	}
	return tc, true
}

// serveWS serves a WebSocket, and files beside it.
func (fw *Forwarder) serveWS(ctx context.Context, encryption *tls.Config, handle handler) error {
	s := &websocket.Server{Config: fw.wsConfig(), Origins: fw.cfg.Origins, MaxConns: int(fw.cfg.Connections), Connect: fw.choose}
	if fw.from.ws.Network != "unix" {
		s.CheckHost = fw.cfg.CheckHost
	}
	s.Handle = func(c *websocket.Conn, r *http.Request) {
		_ = handle(r.Context(), c.Stream(fw.encoding(c)), r.RemoteAddr) // what can be told has been
	}
	u := fw.from.ws
	ln, err := websocket.Listen(ctx, u.String(), encryption)
	if err != nil {
		return err
	}
	if u.Network == "tcp" {
		u.Addr = ln.Addr().String()
	}
	fw.listening(u.String())
	return websocket.Serve(ctx, ln, fw.beside(s))
}

// beside serves s at its path and the files of --web everywhere else.
func (fw *Forwarder) beside(s *websocket.Server) http.Handler {
	path, _, _ := strings.Cut(fw.from.ws.Target, "?")
	others := http.NotFoundHandler()
	if fw.cfg.Web != "" {
		others = http.FileServer(http.Dir(fw.cfg.Web))
		s.Page = others // a plain request at the path of s
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.EscapedPath() == path {
			s.ServeHTTP(w, r)
			return
		}
		others.ServeHTTP(w, r)
	})
}

// choose agrees on the client's first subprotocol that is spoken, if it offers any.
func (fw *Forwarder) choose(h *websocket.Handshake) error {
	spoken := fw.cfg.Subprotocols
	if len(spoken) == 0 {
		spoken = defaultSubprotocols
	}
	for _, name := range h.Offered {
		if slices.Contains(spoken, name) {
			h.Subprotocol = name
			return nil
		}
	}
	if len(h.Offered) == 0 {
		return nil
	}
	return &websocket.Refusal{Status: http.StatusBadRequest, Text: "subprotocol must be one of: " + strings.Join(spoken, ", ")}
}

// serveSerial connects a port with the target whenever both are there.
func (fw *Forwarder) serveSerial(ctx context.Context, handle handler) error {
	port, err := serialport.New(fw.from.port, fw.from.line, serialport.Roots{}, nil)
	if err != nil {
		return err
	}
	var once sync.Once
	pause := backoff.New(backoff.Config{}, nil)
	for ctx.Err() == nil {
		in, err := newSerialStream(ctx, port)
		if err == nil {
			once.Do(func() { fw.listening(fw.from.text) })
			err = handle(ctx, in, fw.from.text)
		} else if ctx.Err() == nil {
			fw.log.Warn("serial port cannot be opened", "port", fw.from.text, "error", err)
		}
		if err == nil {
			pause.Reset()
		}
		_ = pause.Wait(ctx)
	}
	return nil
}
