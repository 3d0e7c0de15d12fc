package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"gantry/bridge"
	"gantry/bridge/mqtt"
	"gantry/bridge/uplink"
	"gantry/bridge/uplink/httplink"
	"gantry/bridge/uplink/mqttlink"
	"gantry/bridge/uplink/natslink"
	"gantry/bridge/uplink/wamplink"
	"gantry/wamp"
	"gantry/wamp/auth"
	"gantry/wamp/client"
	"gantry/wamp/transport"
)

// uplinks starts the uplinks and returns when none of them misses an event any
// more.
func (r *run) uplinks(ctx context.Context, origin *bridge.Origin) error {
	var all []*uplink.Uplink
	for _, q := range r.queues {
		var err error
		if q.session, err = r.join(ctx, "uplink_"+q.name, transport.PipeConfig{Lossless: true}); err != nil {
			return err
		}
		if err := r.newUplink(q, r.cfg.Uplinks[q.name].WithDefaults(), origin); err != nil {
			return fmt.Errorf("uplink %s: %w", q.name, err)
		}
		all = append(all, q.uplink)
	}
	for _, u := range all {
		r.back.run("uplink "+u.Name(), u.Run)
		if err := awaitReady(ctx, u.Ready()); err != nil {
			return err
		}
	}
	if len(all) == 0 {
		return nil
	}
	r.Gateway.all.Store(&all)
	r.Gateway.kept.Store(&r.queues)
	s, err := r.join(ctx, "sys", transport.PipeConfig{})
	if err != nil {
		return err
	}
	if _, err := uplink.ServeStatus(ctx, s, r.cfg.Gateway.Name, all); err != nil {
		return err
	}
	return uplink.ServeDeadLetters(ctx, s, r.cfg.Gateway.Name, all)
}

// newUplink makes an uplink with the sink of its kind.
func (r *run) newUplink(q *queued, cfg uplink.Config, origin *bridge.Origin) error {
	log := r.log.With("room", "uplink")
	q.commands = uplink.NewCommands(r.cfg.Gateway.Name, cfg.Serve, q.session)
	var sink uplink.Sink
	var err error
	switch cfg.Kind {
	case uplink.KindMQTT:
		sink, err = r.mqttSink(q, cfg, q.commands, log)
	case uplink.KindHTTP:
		sink, err = r.httpSink(q, cfg, log)
	case uplink.KindNATS:
		sink, err = r.natsSink(q, cfg, q.commands, log)
	default:
		sink, err = r.wampSink(q, cfg, q.commands, log)
	}
	if err != nil {
		return err
	}
	deps := uplink.Deps{
		Origin: origin, Local: q.session, Sink: sink, Queue: q.tap(q.outbox), Urgent: q.tap(q.urgent), DeadLetters: q.dead,
	}
	if q.source != nil {
		deps.Source = q.source.uplink
	}
	q.uplink, err = uplink.New(q.name, cfg, deps, log)
	return err
}

func (r *run) wampSink(q *queued, cfg uplink.Config, commands *uplink.Commands, log *slog.Logger) (uplink.Sink, error) {
	dial := transport.DialConfig{Formats: []wamp.Format{formats[cfg.Serializer]}}
	var err error
	if dial.TLS, err = r.trust(cfg.CA); err != nil {
		return nil, err
	}
	proofs, err := uplinkProofs(cfg)
	if err != nil {
		return nil, err
	}
	realm := r.realm()
	if cfg.Realm != "" {
		realm = wamp.URI(cfg.Realm)
	}
	return wamplink.New(wamplink.Config{
		Dial:     func(ctx context.Context) (wamp.Peer, error) { return transport.Dial(ctx, cfg.URL, dial) },
		Session:  client.SessionConfig{Realm: realm, AuthID: r.cfg.Gateway.Name, Auth: proofs, Log: log},
		Stream:   r.cfg.Gateway.Name + "/" + q.outbox.ID(),
		Commands: commands,
	}, log.With("uplink", q.name))
}

func (r *run) mqttSink(q *queued, cfg uplink.Config, commands *uplink.Commands, log *slog.Logger) (uplink.Sink, error) {
	m := cfg.MQTT
	if m.ClientID == "" {
		m.ClientID = "gantry_" + r.cfg.Gateway.Name + "_" + q.name
	}
	if m.Node == "" {
		m.Node = r.cfg.Gateway.Name
	}
	c := mqttlink.Config{
		URL: cfg.URL, ClientID: m.ClientID, User: cfg.User, Password: cfg.Password, CA: cfg.CA, Cert: m.Cert, Key: m.Key, Now: r.clock.Now,
		Gateway: r.cfg.Gateway.Name, Commands: commands,
	}
	if m.Format == uplink.FormatSparkplug {
		c.Sparkplug = &mqttlink.Sparkplug{Group: m.Group, Node: m.Node, Start: r.store.Epoch(), Local: q.session}
	}
	s, err := mqttlink.New(c, log.With("uplink", q.name))
	if err != nil {
		return nil, err
	}
	q.unborn = s.Unborn
	return s, nil
}

func (r *run) httpSink(q *queued, cfg uplink.Config, log *slog.Logger) (uplink.Sink, error) {
	trusted, err := r.trust(cfg.CA)
	if err != nil {
		return nil, err
	}
	return httplink.New(httplink.Config{
		URL: cfg.URL, User: cfg.User, Password: cfg.Password, TLS: trusted, Stream: r.cfg.Gateway.Name + "/" + q.outbox.ID(),
	}, log.With("uplink", q.name))
}

func (r *run) natsSink(q *queued, cfg uplink.Config, commands *uplink.Commands, log *slog.Logger) (uplink.Sink, error) {
	return natslink.New(natslink.Config{
		URL: cfg.URL, User: cfg.User, Password: cfg.Password, Key: cfg.Key, CA: cfg.CA, Now: r.clock.Now,
		Gateway: r.cfg.Gateway.Name, Version: version, Stream: r.cfg.Gateway.Name + "/" + q.outbox.ID(), NATS: cfg.NATS, Commands: commands,
	}, log.With("uplink", q.name))
}

// uplinkProofs returns what an uplink logs in with; nil for an anonymous one.
func uplinkProofs(cfg uplink.Config) (*auth.Client, error) {
	switch {
	case cfg.Key != nil:
		text, err := cfg.Key.Reveal()
		if err != nil {
			return nil, err
		}
		return keyProof(cfg.User, text)
	case cfg.Password != nil:
		text, err := cfg.Password.Reveal()
		if err != nil {
			return nil, err
		}
		return passwordProofs(cfg.User, text), nil
	}
	return nil, nil
}

var formats = map[string]wamp.Format{"cbor": wamp.CBOR, "msgpack": wamp.MsgPack, "json": wamp.JSON}

// uplinkMetrics writes what the uplinks and their queues count.
func (g *Gateway) uplinkMetrics(m *metrics) {
	all := g.all.Load()
	if all == nil {
		return
	}
	status := make([]wamp.Dict, len(*all))
	for i, u := range *all {
		status[i] = u.Status()
	}
	for _, f := range []struct{ key, name, kind, help string }{
		{"connected", "gantry_uplink_connected", gauge, "1 while the far router is there."},
		{"depth", "gantry_uplink_depth", gauge, "Events that wait."},
		{"bytes", "gantry_uplink_bytes", gauge, "Bytes of the queue on disk."},
		{"pending", "gantry_uplink_pending_bytes", gauge, "Bytes that are not on disk yet."},
		{"dead_letters", "gantry_uplink_dead_letters", gauge, "Events refused for good."},
		{"failing", "gantry_uplink_store_failing", gauge, "1 while the queue cannot be written."},
		{"stored", "gantry_uplink_stored_total", counter, "Events put into the queue."},
		{"sent", "gantry_uplink_sent_total", counter, "Events acknowledged by the far router."},
		{"replayed", "gantry_uplink_replayed_total", counter, "Events sent that were older than the connection."},
		{"live", "gantry_uplink_live_total", counter, "Newest values sent past the queue."},
		{"filtered", "gantry_uplink_filtered_total", counter, "Events that the filters left out."},
		{"connections", "gantry_uplink_connections_total", counter, "Connections made."},
		{"refused", "gantry_uplink_refused_total", counter, "Refusals by the far router."},
		{"unfit", "gantry_uplink_unfit_total", counter, "Events that could not be stored."},
		{"dropped", "gantry_uplink_dropped_total", counter, "Events dropped because the queue was full or too old."},
		{"lost", "gantry_uplink_lost_total", counter, "Events lost from the queue."},
	} {
		m.family(f.name, f.kind, f.help)
		for i, u := range *all {
			v := 0.0
			switch x := status[i][f.key].(type) {
			case uint64:
				v = float64(x)
			case bool:
				if x {
					v = 1
				}
			}
			m.value(v, "uplink", u.Name())
		}
	}
	m.family("gantry_uplink_oldest_seconds", gauge, "How long the oldest event that waits has done so; absent when that was before the start.")
	for _, u := range *all {
		if age, known := u.OldestAge(); known {
			m.value(age.Seconds(), "uplink", u.Name())
		}
	}
	m.family("gantry_uplink_commands_rejected_total", counter, "Commands from afar of which no call was made.")
	if kept := g.kept.Load(); kept != nil {
		for _, q := range *kept {
			m.value(float64(q.commands.Rejected()), "uplink", q.name)
		}
		m.family("gantry_uplink_unborn_total", counter, "Present values that birth certificates of Sparkplug lacked.")
		for _, q := range *kept {
			if q.unborn != nil {
				m.value(float64(q.unborn()), "uplink", q.name)
			}
		}
	}
}

// startBrokers joins the external MQTT brokers to the realm.
func (r *run) startBrokers(ctx context.Context, origin *bridge.Origin) error {
	var all []*mqtt.Client
	var authids []string
	for _, name := range slices.Sorted(maps.Keys(r.cfg.Brokers)) {
		authids = append(authids, "broker_"+name)
	}
	for _, name := range slices.Sorted(maps.Keys(r.cfg.Brokers)) {
		s, err := r.join(ctx, "broker_"+name, transport.PipeConfig{})
		if err != nil {
			return err
		}
		deps := mqtt.Deps{Origin: origin, Session: s, Settle: r.settle, Others: authids, Parked: r.parked[name]}
		cfg := r.cfg.Brokers[name]
		if len(cfg.Publish) > 0 {
			if deps.Events, err = r.join(ctx, "broker_"+name, transport.PipeConfig{}); err != nil {
				return err
			}
		}
		if h := r.hosts[name]; h != nil {
			deps.Guests = append(deps.Guests, h)
		}
		status := cfg.Status
		if status == "" {
			status = mqtt.DefaultStatus(r.cfg.Gateway.Name)
		}
		if pub, err := r.startHass(ctx, name, status, cfg.HomeAssistant); err != nil {
			return err
		} else if pub != nil {
			deps.Guests = append(deps.Guests, pub)
		}
		c, err := mqtt.New(name, cfg, deps, r.log.With("room", "mqtt"))
		if err != nil {
			return err
		}
		r.inlet.run("broker "+name, c.Run)
		all = append(all, c)
	}
	r.Gateway.brokers.Store(&all)
	if len(all) == 0 {
		return nil
	}
	s, err := r.join(ctx, "sys_mqtt", transport.PipeConfig{})
	if err != nil {
		return err
	}
	return mqtt.ServeParked(ctx, s, r.cfg.Gateway.Name, all)
}

// brokerMetrics writes what the clients of external brokers count.
func (g *Gateway) brokerMetrics(m *metrics) {
	all := g.brokers.Load()
	if all == nil || len(*all) == 0 {
		return
	}
	for _, f := range []struct {
		name, kind, help string
		of               func(s mqtt.Stats) uint64
	}{
		{"gantry_broker_connected", gauge, "1 while the broker is there.", func(s mqtt.Stats) uint64 {
			if s.Link.State == bridge.Offline {
				return 0
			}
			return 1
		}},
		{"gantry_broker_connections_total", counter, "Connections made to the broker.", func(s mqtt.Stats) uint64 { return s.Connections }},
		{"gantry_broker_received_total", counter, "Messages from the broker.", func(s mqtt.Stats) uint64 { return s.Received }},
		{"gantry_broker_passed_in_total", counter, "Messages that went through to the realm.", func(s mqtt.Stats) uint64 { return s.PassedIn }},
		{"gantry_broker_passed_out_total", counter, "Events that went through to the broker.", func(s mqtt.Stats) uint64 { return s.PassedOut }},
		{"gantry_broker_not_passed_total", counter, "Messages and events that did not go through, in spite of a rule.", func(s mqtt.Stats) uint64 { return s.NotPassed }},
		{"gantry_broker_echoed_total", counter, "Messages of the client that the broker has sent back.", func(s mqtt.Stats) uint64 { return s.Echoed }},
		{"gantry_broker_repeated_total", counter, "Messages at QoS 2 that had come before.", func(s mqtt.Stats) uint64 { return s.Repeated }},
		{"gantry_broker_parked_total", counter, "Messages set aside, as the realm refused what they say.", func(s mqtt.Stats) uint64 { return s.Parked }},
		{"gantry_broker_published_total", counter, "Messages of calls that the broker has taken.", func(s mqtt.Stats) uint64 { return s.Published }},
		{"gantry_broker_refused_total", counter, "Calls that could not be sent or were not acknowledged.", func(s mqtt.Stats) uint64 { return s.Refused }},
	} {
		m.family(f.name, f.kind, f.help)
		for _, c := range *all {
			m.value(float64(f.of(c.Stats())), "broker", c.Name())
		}
	}
}

// rulesMetrics writes what the rules of brokers and of the own listener count.
func (g *Gateway) rulesMetrics(m *metrics) {
	type counted struct {
		broker string
		bridge.RulesStats
	}
	var all []counted
	if brokers := g.brokers.Load(); brokers != nil {
		for _, c := range *brokers {
			s := c.Stats()
			s.Rules.Dropped += s.Dropped
			all = append(all, counted{c.Name(), s.Rules})
		}
	}
	if local := g.local.Load(); local != nil {
		all = append(all, counted{ownListener, local.Stats()})
	}
	if len(all) == 0 {
		return
	}
	for _, f := range []struct {
		name, help string
		of         func(s *counted) uint64
	}{
		{"gantry_broker_ruled_total", "Messages that rules map are for.", func(s *counted) uint64 { return s.Messages }},
		{"gantry_broker_readings_total", "Readings made of them.", func(s *counted) uint64 { return s.Readings }},
		{"gantry_broker_malformed_total", "Messages that are not the JSON that a rule needs.", func(s *counted) uint64 { return s.Malformed }},
		{"gantry_broker_bad_total", "Readings of quality bad.", func(s *counted) uint64 { return s.Bad }},
		{"gantry_broker_ignored_total", "Retained messages that a rule does not want.", func(s *counted) uint64 { return s.Ignored }},
		{"gantry_broker_stale_total", "Messages, or their items, older than max_age.", func(s *counted) uint64 { return s.Stale }},
		{"gantry_broker_unclaimed_total", "Answers that no call waited for.", func(s *counted) uint64 { return s.Unclaimed }},
		{"gantry_broker_dropped_total", "Readings that the realm did not take.", func(s *counted) uint64 { return s.Dropped }},
		{"gantry_broker_unanswered_total", "Answers to messages that could not be published.", func(s *counted) uint64 { return s.Unanswered }},
	} {
		m.family(f.name, counter, f.help)
		for i := range all {
			m.value(float64(f.of(&all[i])), "broker", all[i].broker)
		}
	}
	m.family("gantry_broker_calls_total", counter, "Messages that rules call are for, by what has become of them.")
	for _, s := range all {
		s.Calls.Each(func(outcome string, n uint64) { m.value(float64(n), "broker", s.broker, "outcome", outcome) })
	}
}

// localRules starts the rules for the clients of the gateway's own listener.
func (r *run) localRules(ctx context.Context, origin *bridge.Origin) error {
	rules := r.cfg.MQTT.RulesConfig
	if len(rules.Map)+len(rules.Command)+len(rules.Call) == 0 {
		return nil
	}
	s, err := r.join(ctx, "mqtt_rules", transport.PipeConfig{})
	if err != nil {
		return err
	}
	local, err := bridge.NewLocal(rules, origin, s, r.log.With("room", "mqtt rules"))
	if err != nil {
		return err
	}
	r.Gateway.local.Store(local)
	r.front.run("mqtt rules", local.Run)
	return awaitReady(ctx, local.Ready())
}
