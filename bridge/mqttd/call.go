package mqttd

import (
	"time"

	"gantry/bridge"
	"gantry/bridge/internal/packet"
	"gantry/wamp"
)

// call is a PUBLISH with a response topic, which is a CALL where a procedure of that
// name is registered and a publication where none is.
type call struct {
	response    wamp.URI
	correlation string
	publish     *wamp.Publish // the message as a publication
	acked       bool
}

// maxCall is the longest wait for the result of a call whose message does not expire.
const maxCall = 30 * time.Second

func (s *session) call(r request, m *wamp.Publish, p *packet.Publish, response string) {
	correlation, _ := p.Properties.Text(packet.CorrelationData)
	r.call = &call{response: bridge.URIFromTopic(response), correlation: correlation, publish: m}
	timeout := uint64(maxCall / time.Millisecond)
	if n := p.Properties.Num(packet.MessageExpiry, 0); n > 0 {
		timeout = min(timeout, uint64(n)*1000)
	}
	payload, _ := bridge.CutProperties(m.Payload)
	s.toRouter = append(s.toRouter, &wamp.Call{
		Request: s.ask(r), Procedure: m.Topic, Payload: bridge.Arguments(payload),
		Options: wamp.CallOptions{Timeout: timeout, ReceiveProgress: true, Passthru: m.Options.Passthru},
	})
}

// result publishes what a procedure has answered.
func (s *session) result(m *wamp.Result) (ack pending) {
	r, ok := s.requests[m.Request]
	if !ok || r.call == nil {
		return ack
	}
	var user [][2]string
	if m.Details.Progress {
		user = [][2]string{{"progress", "true"}}
	} else {
		delete(s.requests, m.Request)
	}
	s.respond(r.call, m.Payload, user)
	if r.publish == 0 || r.call.acked {
		return ack
	}
	r.call.acked = true
	return s.taken(r)
}

// failed answers a call with its error; without a procedure, or the right to call it,
// the message is published.
func (s *session) failed(r request, err *wamp.ErrorReply) (ack pending) {
	if err == nil {
		return ack
	}
	c := r.call
	if !c.acked && (err.URI == wamp.ErrURINoSuchProcedure || err.URI == wamp.ErrURINotAuthorized) {
		r.call = nil
		s.route(r, c.publish)
		return ack
	}
	s.respond(c, err.Payload, [][2]string{{"error", string(err.URI)}})
	if r.publish == 0 || c.acked {
		return ack
	}
	return s.taken(r)
}

func (s *session) respond(c *call, payload wamp.Payload, user [][2]string) {
	props := &bridge.Properties{Correlation: c.correlation, User: user}
	p, err := bridge.WithProperties(payload.Clone(), props)
	if err != nil {
		s.stats.unmappable.Add(1)
		s.rare.Warn("the result of a call goes to an mqtt client without its values, for which MQTT has no form", "client", s.id, "topic", string(c.response), "error", err)
		p, _ = bridge.WithProperties(wamp.Payload{}, props)
	}
	s.tell(&wamp.Publish{Topic: c.response, Payload: p, Options: wamp.PublishOptions{IncludeMe: true}})
}
