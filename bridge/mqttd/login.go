package mqttd

import (
	"gantry/bridge/internal/packet"
	"gantry/wamp"
)

// hello is the HELLO that a CONNECT amounts to. Credentials are proved by ticket, a
// client certificate by itself.
func (c *client) helloOf(p *packet.Connect) *wamp.Hello {
	methods := wamp.List{}
	if c.info.TLS != nil && len(c.info.TLS.PeerCertificates) > 0 {
		methods = append(methods, "tls")
	}
	authID := c.session.id
	if p.HasUser && p.User != "" {
		authID = p.User
	}
	if p.HasPass {
		c.password = p.Password
		methods = append(methods, "ticket")
	}
	methods = append(methods, "anonymous")
	return &wamp.Hello{Realm: c.srv.cfg.Realm, Details: wamp.Dict{
		"roles": wamp.Dict{
			"publisher":  wamp.Dict{"features": wamp.Dict{"publisher_exclusion": true, "payload_passthru_mode": true}},
			"subscriber": wamp.Dict{"features": wamp.Dict{"pattern_based_subscription": true, "event_retention": true, "payload_passthru_mode": true}},
			"caller":     wamp.Dict{"features": wamp.Dict{"call_timeout": true, "progressive_call_results": true, "payload_passthru_mode": true}},
		},
		"authmethods": methods,
		"authid":      authID,
		"agent":       "mqtt",
		"transport": wamp.Dict{
			"type": "mqtt", "peer": c.info.Remote, "secure": c.info.Encrypted,
			"client_id": c.session.id, "protocol_level": int64(p.Version),
			"keep_alive": int64(p.KeepAlive), "clean_session": p.Clean,
		},
	}}
}

// challenged answers a challenge with the password.
func (c *client) challenged(m *wamp.Challenge) {
	if m.AuthMethod != "ticket" || c.password == nil {
		c.refusal = wamp.ErrURINoMatchingAuthMethod
		c.session.toRouter = append(c.session.toRouter, &wamp.Abort{Reason: wamp.ErrURINoMatchingAuthMethod})
		return
	}
	c.session.toRouter = append(c.session.toRouter, &wamp.Authenticate{Signature: string(c.password), Extra: wamp.Dict{}})
	c.password = nil
}

// connackCode tells a client why it may not join.
func connackCode(version byte, reason wamp.URI) byte {
	old, code := byte(packet.OldServerUnavailable), byte(packet.ServerUnavailable)
	switch reason {
	case wamp.ErrURIAuthenticationFailed:
		old, code = packet.OldBadUserOrPassword, packet.BadUserOrPassword
	case wamp.ErrURINotAuthorized, wamp.ErrURIAuthorizationFailed, wamp.ErrURINoMatchingAuthMethod, wamp.ErrURINoSuchRole:
		old, code = packet.OldNotAuthorized, packet.NotAuthorized
	}
	if version == packet.V5 {
		return code
	}
	return old
}
