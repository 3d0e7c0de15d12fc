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
	// Behind those who publish, so that the last of it is brought to disk as well.
	r.back.run("mqtt sessions", r.mqttd.Run)
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

// mqttMetrics writes what the listener counts.
func (g *Gateway) mqttMetrics(m *metrics) {
	if g.mqttd == nil {
		return
	}
	s := g.mqttd.Stats()
	m.one("gantry_mqtt_connections", gauge, "MQTT connections that are open.", float64(s.Open))
	m.one("gantry_mqtt_connections_total", counter, "MQTT connections ever accepted.", float64(s.Connections))
	m.one("gantry_mqtt_sessions", gauge, "Sessions of MQTT clients.", float64(s.Sessions))
	m.one("gantry_mqtt_away", gauge, "Those of them whose client is not connected.", float64(s.Away))
	m.one("gantry_mqtt_away_messages", gauge, "Messages that wait for those clients.", float64(s.AwayMessages))
	m.one("gantry_mqtt_away_bytes", gauge, "Bytes of those messages.", float64(s.AwayBytes))
	m.one("gantry_mqtt_away_seconds", gauge, "How long the first of those clients has been away.", s.LongestAway.Seconds())
	m.one("gantry_mqtt_sessions_expired_total", counter, "Sessions that ended because nobody came back to them.", float64(s.SessionsExpired))
	m.one("gantry_mqtt_filters_refused_total", counter, "Topic filters that were refused.", float64(s.Filters))
	m.one("gantry_mqtt_refused_total", counter, "MQTT messages that the router refused.", float64(s.Refused))
	m.one("gantry_mqtt_repeated_total", counter, "MQTT messages at QoS 2 that had come before.", float64(s.Repeated))
	m.one("gantry_mqtt_properties_cut_total", counter, "Properties that messages went without, as MQTT does not take them.", float64(s.Cut))
	m.one("gantry_mqtt_unstored_total", counter, "MQTT messages that were refused because the disk failed.", float64(s.Unstored))
	m.one("gantry_mqtt_held_total", counter, "Times that publishers waited for an MQTT client.", float64(s.Held))
	m.one("gantry_mqtt_held_seconds_total", counter, "How long publishers waited for MQTT clients.", s.HeldTime.Seconds())
	m.one("gantry_mqtt_exhausted_total", counter, "Times that publishers waited no longer for an MQTT client.", float64(s.Exhausted))
	byWhy(m, "gantry_mqtt_dropped_total", "MQTT messages that a subscriber does not get.", []why{
		{"queue_full", s.Full}, {"too_large", s.Oversize}, {"expired", s.Expired}, {"unmappable", s.Unmappable}, {"away", s.Missed},
		{"session_ended", s.Abandoned},
	})
	byWhy(m, "gantry_mqtt_ended_total", "MQTT connections that the gateway ended.", []why{
		{"over_limit", s.OverLimit}, {"half_open", s.HalfOpen}, {"rejected", s.Rejected}, {"not_admitted", s.NotAdmitted}, {"no_session", s.NoSession},
		{"taken_over", s.TakenOver}, {"keep_alive", s.KeepAlive}, {"malformed", s.Malformed}, {"slow", s.Slow}, {"stalled", s.Stalled},
		{"memory", s.Memory}, {"unstored", s.UnstoredEnd},
	})
}

// why is a count of those that have the same reason.
type why struct {
	reason string
	n      uint64
}

// byWhy writes a counter with a value for each reason.
func byWhy(m *metrics, name, help string, counts []why) {
	m.family(name, counter, help)
	for _, c := range counts {
		m.value(float64(c.n), "why", c.reason)
	}
}
