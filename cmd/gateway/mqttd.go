package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"

	"gantry/bridge/mqttd"
	"gantry/store"
	"gantry/wamp/websocket"
)

// speaksMQTT reports whether there is any way in for MQTT clients.
func (g *Gateway) speaksMQTT() bool {
	m := &g.cfg.MQTT
	return m.Listen != "" || m.ListenTLS != ""
}

// mqttTable lets the sessions of MQTT survive in the store.
type mqttTable struct{ *store.Table }

// Apply is that of mqttd.Table.
func (t mqttTable) Apply(ctx context.Context, changes []mqttd.Change) error {
	out := make([]store.Change, len(changes))
	for i, c := range changes {
		out[i] = store.Change(c)
	}
	return t.Table.Apply(ctx, out)
}

// mqttBounds of the table: all queues of all sessions, as they are by default.
var mqttBounds = store.TableConfig{MaxEntries: 1 << 20, MaxBytes: 512 << 20}

// settleMQTT returns what the acknowledgements of the listener wait for; nil without
// uplinks.
func (g *Gateway) settleMQTT() func(ctx context.Context) error {
	if len(g.cfg.Uplinks) == 0 {
		return nil
	}
	return g.settle
}

func (r *run) openMQTT() (err error) {
	if r.mqttd != nil {
		r.mqttTable, err = r.store.Table("mqtt", mqttBounds)
	}
	return err
}

// restoreMQTT takes up the sessions of MQTT clients again, before anything publishes.
func (r *run) restoreMQTT() error {
	if r.mqttd == nil {
		return nil
	}
	r.mqttEnd = r.front.ctx
	if err := r.mqttd.Restore(r.front.ctx, mqttTable{r.mqttTable}); err != nil {
		return err
	}
	r.front.run("mqtt sessions", r.mqttd.Run)
	return nil
}

func (r *run) serveMQTT() {
	for _, ln := range r.mqttListeners {
		r.front.run("mqtt listener "+ln.Addr().String(), func(ctx context.Context) error { return r.mqttd.Serve(ctx, ln) })
	}
	r.mqttListeners = nil
}

// mqttSocket is MQTT in the binary messages of a WebSocket (MQTT 5, 6).
type mqttSocket struct {
	net.Conn
	state *tls.ConnectionState
}

// TLS returns the state of the encryption, nil without any.
func (s mqttSocket) TLS() *tls.ConnectionState { return s.state }

// serveMQTTSocket upgrades to MQTT over WebSocket. The server has checked the host.
func (g *Gateway) serveMQTTSocket() http.HandlerFunc {
	l := g.cfg.Listen
	up := &websocket.Server{
		Config:       websocket.Config{MaxMessage: g.cfg.Limits.MessageBytes, PingInterval: l.PingInterval, PingTimeout: l.PingTimeout, WriteTimeout: l.WriteTimeout},
		Subprotocols: []string{"mqtt"}, Origins: l.Origins, // MQTT-6.0.0-3
	}
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r)
		if err != nil {
			return // answered
		}
		g.mqttd.ServeConn(g.mqttEnd, mqttSocket{c.Stream(websocket.StreamBinary), c.TLS()})
	}
}
