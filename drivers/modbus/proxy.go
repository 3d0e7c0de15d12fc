package modbus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/tcp"
	"gantry/internal/lane"
	"gantry/internal/ratelog"
)

// proxyIdle is how long a client of the proxy may say nothing before it is
// disconnected.
const proxyIdle = 5 * time.Minute

// proxyPlan is a proxy's configuration made ready for use.
type proxyPlan struct {
	listen   string
	readOnly bool
	most     int
	timeout  time.Duration
}

func (c *ProxyConfig) plan() (*proxyPlan, error) {
	p := &proxyPlan{listen: c.Listen, readOnly: c.ReadOnly, most: defaultConnections}
	if strings.HasPrefix(p.listen, ":") {
		p.listen = "127.0.0.1" + p.listen
	}
	if !tcp.IsAddress(p.listen) {
		return nil, bad("proxy.listen", `host:port, such as "127.0.0.1:1502"; without host 127.0.0.1`, "%.80q is no address", c.Listen)
	}
	if c.MaxConnections != 0 {
		p.most = int(c.MaxConnections)
	}
	if p.most > maxConnections {
		return nil, bad("proxy.max_connections", fmt.Sprintf("1 to %d", maxConnections), "is %d", p.most)
	}
	return p, nil
}

// run serves the proxy until ctx ends.
func (p *proxyPlan) run(ctx context.Context, bus *bus, log *slog.Logger) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", p.listen)
	if err != nil {
		return fmt.Errorf("modbus proxy: %w", err)
	}
	log.Info("modbus proxy listens", "address", ln.Addr().String(), "read_only", p.readOnly)
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	defer ln.Close()
	rare := ratelog.New(log, time.Minute, nil)
	room := make(chan struct{}, p.most) // one token for each connection
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		conn, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if conn != nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("modbus proxy: %w", err)
		case err != nil:
			rare.Warn("modbus proxy cannot accept", "error", err)
			if pause(ctx, 100*time.Millisecond) != nil {
				return nil
			}
			continue
		}
		select {
		case room <- struct{}{}:
			wg.Go(func() {
				defer func() { <-room }()
				err := drivers.Contain(func() error { p.serve(ctx, conn, bus); return nil })
				if err != nil {
					rare.Warn("modbus proxy drops a client", "remote", conn.RemoteAddr().String(), "error", err)
				}
			})
		default:
			rare.Warn("modbus proxy refuses a connection: too many", "remote", conn.RemoteAddr().String(), "limit", p.most)
			conn.Close()
		}
	}
}

// serve answers one client, one request after the other, until it goes.
func (p *proxyPlan) serve(ctx context.Context, conn net.Conn, bus *bus) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	var in [mbapBytes + maxPDU]byte
	var out []byte
	for {
		_ = conn.SetDeadline(time.Now().Add(proxyIdle)) // it fails on a closed connection only
		if _, err := io.ReadFull(conn, in[:mbapBytes]); err != nil {
			return
		}
		n := int(in[4])<<8 | int(in[5])
		if in[2] != 0 || in[3] != 0 || n < 2 || n > 1+maxPDU {
			return // not Modbus
		}
		pdu := in[mbapBytes : mbapBytes+n-1]
		if _, err := io.ReadFull(conn, pdu); err != nil {
			return
		}
		resp := p.answer(ctx, bus, in[6], pdu)
		out = appendMBAP(out[:0], uint16(in[0])<<8|uint16(in[1]), in[6], resp)
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

// answer passes a request on and returns the response PDU, an exception where
// there is none.
func (p *proxyPlan) answer(ctx context.Context, bus *bus, unit byte, pdu []byte) []byte {
	refuse := func(code byte) []byte { return []byte{pdu[0] | exceptionFlag, code} }
	change := writes(pdu[0])
	switch code := checkRequest(pdu); {
	case code != 0:
		return refuse(code)
	case change && p.readOnly:
		return refuse(illegalFunction)
	case bus.cfg.serial() && (unit == broadcast || unit > maxSerialUnit):
		return refuse(gatewayNoPath)
	}
	r := request{unit: unit, timeout: p.timeout, priority: lane.Poll}
	if change {
		r.priority = lane.Write
	}
	ctx, cancel := context.WithTimeout(ctx, maxWait+p.timeout)
	defer cancel()
	resp, err := bus.do(ctx, r, pdu)
	switch {
	case err == nil:
		return resp
	case errors.Is(err, drivers.ErrBusy):
		return refuse(deviceBusy)
	case errors.Is(err, drivers.ErrOffline):
		return refuse(gatewayNoPath)
	}
	return refuse(gatewayNoResponse)
}

// maxWait is how long a client's request may wait for its turn.
const maxWait = 5 * time.Second
