package main

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"gantry/drivers/hub"
)

// handler serves what is plain HTTP on the gateway's port.
func (g *Gateway) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", g.servePage)
	mux.Handle(hookPath, g.routes)
	mux.Handle(devPath, g.routes)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-g.ready:
			plain(w, http.StatusOK, g.readyText())
		default:
			plain(w, http.StatusServiceUnavailable, "not ready\n")
		}
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		// A client that is gone needs no answer.
		_, _ = w.Write(g.metrics())
	})
	if g.cfg.MQTT.WebSocket != "" && g.speaksMQTT() {
		mux.HandleFunc("GET "+g.cfg.MQTT.WebSocket, g.serveMQTTSocket())
	}
	return mux
}

// readyText says that the gateway is ready, and what of it is degraded: it stays
// ready, as events go on to those who listen.
func (g *Gateway) readyText() string {
	if g.health.degraded() {
		return "ready\ndegraded: the store cannot be written, the log says why\n"
	}
	return "ready\n"
}

func plain(w http.ResponseWriter, code int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text))
}

// servePage says to a browser what this is.
func (g *Gateway) servePage(w http.ResponseWriter, r *http.Request) {
	scheme := "ws"
	if r.TLS != nil {
		scheme = "wss"
	}
	plain(w, http.StatusOK, fmt.Sprintf(`Gantry %s, an IoT edge gateway

gateway  %s
realm    %s
WAMP     WebSocket on /ws, RawSocket on the same port (wamp.2.json, .msgpack, .cbor)
health   /healthz /readyz
metrics  /metrics

gantry devices --url %s://%s/ws --realm %s
`, version, g.cfg.Gateway.Name, g.cfg.Gateway.Realm, scheme, clean(r.Host), g.cfg.Gateway.Realm))
}

// metrics writes what the rooms count.
func (g *Gateway) metrics() []byte {
	m := &metrics{}
	m.family("gantry_build_info", gauge, "The version that runs.")
	m.value(1, "version", version, "gateway", g.cfg.Gateway.Name)
	m.one("gantry_start_time_seconds", gauge, "When the gateway started, in seconds since 1970.", float64(g.started.UnixMilli())/1e3)
	m.one("gantry_uptime_seconds", gauge, "How long the gateway has been running.", time.Since(g.started).Seconds())
	g.transportMetrics(m)
	g.routerMetrics(m)
	g.mqttMetrics(m)
	g.deviceMetrics(m)
	g.brokerMetrics(m)
	g.rulesMetrics(m)
	g.hassMetrics(m)
	g.shapeMetrics(m)
	g.uplinkMetrics(m)
	g.laterMetrics(m)
	g.fleetMetrics(m)
	g.storeMetrics(m)
	m.process()
	return m.b.Bytes()
}

func (g *Gateway) routerMetrics(m *metrics) {
	s := g.router.Total()
	byReason(m, "gantry_router_logins_refused_total", "Clients that were not admitted to a realm.", g.router.LoginsRefused())
	byReason(m, "gantry_router_requests_refused_total", "Requests of sessions that the router refused.", s.Refused)
	for _, v := range []struct {
		name, kind, help string
		value            float64
	}{
		{"gantry_router_sessions", gauge, "Sessions that have joined.", float64(s.Sessions)},
		{"gantry_router_joined_total", counter, "Sessions that have ever joined.", float64(s.Joined)},
		{"gantry_router_received_total", counter, "Messages that sessions have sent.", float64(s.Received)},
		{"gantry_router_sent_total", counter, "Messages queued for sessions.", float64(s.Sent)},
		{"gantry_router_received_bytes_total", counter, "Bytes that sessions have sent.", float64(s.ReceivedBytes)},
		{"gantry_router_sent_bytes_total", counter, "Bytes sent to sessions.", float64(s.SentBytes)},
		{"gantry_router_published_total", counter, "Events routed.", float64(s.Published)},
		{"gantry_router_delivered_total", counter, "Events queued at subscribers.", float64(s.Delivered)},
		{"gantry_router_dropped_total", counter, "Events that did not fit a subscriber's queue.", float64(s.Dropped)},
		{"gantry_router_duplicates_total", counter, "Publications skipped as sent before.", float64(s.Duplicates)},
		{"gantry_router_calls_total", counter, "Calls.", float64(s.Calls)},
		{"gantry_router_calls_refused_total", counter, "Calls that the router answered with an error.", float64(s.CallsRefused)},
		{"gantry_router_violations_total", counter, "Sessions ended for breaking the protocol.", float64(s.Violations)},
		{"gantry_router_held_total", counter, "Messages read later because their session sent too many.", float64(s.Held)},
		{"gantry_router_paused_total", counter, "Messages read later because their session had not read its answers.", float64(s.Paused)},
		{"gantry_router_denied_total", counter, "Requests refused by the rules.", float64(s.Denied)},
		{"gantry_router_undecided_total", counter, "Requests refused because the authorizer did not answer.", float64(s.Undecided)},
		{"gantry_router_unrecorded_total", counter, "Events that their history could not take.", float64(s.Unrecorded)},
		{"gantry_router_slow_consumers_total", counter, "Sessions ended because an answer could not be queued.", float64(s.SlowConsumers)},
		{"gantry_router_retained", gauge, "Last values kept.", float64(s.Retained)},
		{"gantry_router_retained_bytes", gauge, "Bytes of the last values kept.", float64(s.RetainedBytes)},
		{"gantry_router_not_retained_total", counter, "Values not kept because of the limits.", float64(s.NotRetained)},
	} {
		m.one(v.name, v.kind, v.help, v.value)
	}
}

// byReason writes a counter with a value for each key.
func byReason[K ~string](m *metrics, name, help string, counts map[K]uint64) {
	m.family(name, counter, help)
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		m.value(float64(counts[reason]), "reason", string(reason))
	}
}

func (g *Gateway) transportMetrics(m *metrics) {
	s := g.server.Stats()
	m.one("gantry_transport_connections", gauge, "Connections that are open, plain HTTP included.", float64(s.Open))
	m.one("gantry_transport_half_open", gauge, "Those of them that have not joined a realm.", float64(s.HalfOpen))
	m.one("gantry_transport_connections_total", counter, "Connections ever accepted.", float64(s.Connections))
	m.one("gantry_transport_arriving_bytes", gauge, "Memory taken for large messages that arrive, also by MQTT clients.", float64(s.Arriving))
	m.one("gantry_transport_waiting_bytes", gauge, "Memory taken for what waits to be sent, also to MQTT clients.", float64(s.Waiting))
	byReason(m, "gantry_transport_refused_total", "Connections that were refused or ended.", s.Refused)
}

func (g *Gateway) deviceMetrics(m *metrics) {
	h := g.hub.Load()
	if h == nil {
		return
	}
	devices := h.Devices()
	m.family("gantry_device_online", gauge, "1 while the device is there.")
	for i := range devices {
		up := 0.0
		if s := devices[i].State.String(); s == "online" || s == "degraded" {
			up = 1
		}
		m.value(up, "device", devices[i].Device, "driver", devices[i].Driver)
	}
	m.family("gantry_device_parked", gauge, "1 while the device is not tried, or seldom.")
	for i := range devices {
		parked := 0.0
		if devices[i].State == hub.Parked {
			parked = 1
		}
		m.value(parked, "device", devices[i].Device, "driver", devices[i].Driver)
	}
	m.family("gantry_device_latency_seconds", gauge, "Duration of the last request to the driver.")
	for i := range devices {
		m.value(devices[i].Latency.Seconds(), "device", devices[i].Device)
	}
	m.family("gantry_device_request_seconds_total", counter, "Time that requests to the driver have taken.")
	for i := range devices {
		m.value(devices[i].Took.Seconds(), "device", devices[i].Device)
	}
	for _, f := range []struct {
		name, help string
		of         func(i int) uint64
	}{
		{"gantry_device_readings_total", "Readings from the driver.", func(i int) uint64 { return devices[i].Counters.Readings }},
		{"gantry_device_published_total", "Events published.", func(i int) uint64 { return devices[i].Counters.Published }},
		{"gantry_device_suppressed_total", "Readings within the deadband, or held back by filters.", func(i int) uint64 { return devices[i].Counters.Suppressed }},
		{"gantry_device_dropped_total", "Events that could not be published.", func(i int) uint64 { return devices[i].Counters.Dropped }},
		{"gantry_device_garbage_total", "Input that could not be decoded.", func(i int) uint64 { return devices[i].Counters.Garbage }},
		{"gantry_device_errors_total", "Failed requests and losses.", func(i int) uint64 { return devices[i].Counters.Errors }},
		{"gantry_device_restarts_total", "Starts of the driver after the first.", func(i int) uint64 { return devices[i].Counters.Restarts }},
		{"gantry_device_panics_total", "Panics of the driver.", func(i int) uint64 { return devices[i].Counters.Panics }},
		{"gantry_device_polls_total", "Requests of the schedule.", func(i int) uint64 { return devices[i].Counters.Polls }},
		{"gantry_device_polls_missed_total", "Polls left out.", func(i int) uint64 { return devices[i].Counters.Missed }},
		{"gantry_device_requests_total", "Requests to the driver, polls and commands.", func(i int) uint64 { return devices[i].Counters.Requests }},
	} {
		m.family(f.name, counter, f.help)
		for i := range devices {
			m.value(float64(f.of(i)), "device", devices[i].Device)
		}
	}
}
