package mqttlink

import (
	"context"
	"strings"

	"gantry/bridge"
	"gantry/bridge/uplink"
	"gantry/wamp"
)

// plain has events as JSON under their own names, gantry/<gateway>/<class>/..., and
// calls as messages to gantry/<gateway>/call/<class>/<device>/<name>/<id>, which are
// answered on gantry/<gateway>/result/... or gantry/<gateway>/error/... with the same
// levels.
type plain struct {
	base     string // gantry/<gateway>/
	commands *uplink.Commands
	reject   func(text, topic string, more ...any)
}

func newPlain(cfg Config, reject func(text, topic string, more ...any)) *plain {
	return &plain{base: "gantry/" + cfg.Gateway + "/", commands: cfg.Commands, reject: reject}
}

func (f *plain) status(text string) message {
	return message{topic: f.base + "status", payload: []byte(text), qos: 1, retain: true}
}

func (f *plain) will() message { return f.status(bridge.Offline) }

func (f *plain) farewell() message { return f.status(bridge.Offline) }

func (f *plain) filters() (all []string) {
	for _, class := range f.commands.Classes() {
		all = append(all, f.base+"call/"+class+"/#")
	}
	return all
}

func (f *plain) begin(ctx context.Context, c *conn) error {
	return c.wait(ctx, c.publish(f.status(bridge.Online)))
}

func (f *plain) send(ctx context.Context, c *conn, events []uplink.Event, answered func(int, error)) error {
	for i := range events {
		e := &events[i]
		payload, err := e.AppendJSON(nil)
		topic := strings.ReplaceAll(string(e.Topic), ".", "/")
		if err == nil {
			err = bridge.CheckTopic(topic)
		}
		if err != nil {
			answered(i, &uplink.Refusal{Cause: err, Hopeless: true})
			continue
		}
		token := c.publish(message{topic: topic, payload: payload, qos: 1, retain: e.Retain})
		if err := c.later(ctx, token, func() { answered(i, nil) }); err != nil {
			return err
		}
	}
	return nil
}

// command makes a call of a message and answers it.
func (f *plain) command(ctx context.Context, c *conn, m message) {
	name, ok := strings.CutPrefix(m.topic, f.base+"call/")
	last := strings.LastIndexByte(name, '/')
	if !ok || last < 0 {
		f.reject("a command is not taken, as its topic names no call", m.topic)
		return
	}
	procedure := f.commands.URI(strings.ReplaceAll(name[:last], "/", "."))
	p, err := f.commands.Call(ctx, procedure, wamp.CallOptions{}, bridge.Arguments(bridge.PayloadFromMQTT(m.payload)), nil)
	answer := message{topic: f.base + "result/" + name, qos: 1}
	if err == nil {
		answer.payload, err = bridge.AppendMQTT(nil, p)
	}
	if err != nil {
		answer = message{topic: f.base + "error/" + name, qos: 1, payload: uplink.ErrorJSON(err)}
	}
	c.publish(answer)
}
