package bridge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tidwall/gjson"

	"gantry/wamp"
)

// ResponseConfig is the table [command.response]: what the device answers.
type ResponseConfig struct {
	// Topic is the topic filter of the answers. A level {id} is the identifier of the
	// request, as in the command's topic and payload; a level {argument} has to be that
	// argument. Required.
	Topic string `toml:"topic"`
	// ID is the path of the identifier in an answer. Without it, and without {id} in
	// Topic, one request at a time is on its way, and takes whatever answer comes.
	ID string `toml:"id"`
	// QoS is that of the subscription at an external broker. Default 1.
	QoS *uint8 `toml:"qos"`
	// Timeout is how long each answer may take. Default 10 s.
	Timeout time.Duration `toml:"timeout"`
	// Result is the path of the result in the last answer. "" = the whole.
	Result string `toml:"result"`
	// ProgressIf has paths with values, as good_if of a map: an answer in which all of
	// them hold is progress, and another one follows. LastIf is the alternative: every
	// answer is progress until all of these hold.
	ProgressIf map[string]any `toml:"progress_if"`
	LastIf     map[string]any `toml:"last_if"`
	// ErrorIf has paths with values, as bad_if of a map: an answer in which one of them
	// holds is a refusal. Error is the path of its text.
	ErrorIf map[string]any `toml:"error_if"`
	Error   string         `toml:"error"`
	// CancelTopic and CancelPayload, templates like the command's, are published at the
	// command's QoS when the caller gives up, or the answer takes too long. "" = nothing.
	CancelTopic   string `toml:"cancel_topic"`
	CancelPayload string `toml:"cancel_payload"`
}

// idName is the placeholder of a request's identifier.
const idName = "id"

// maxRequests bounds the requests of one rule that wait for answers.
const maxRequests = 256

// repliesAtOnce is how many answers a request may have that nobody has looked at.
const repliesAtOnce = 16

// cancelTime is what the message that ends a request gets on its way.
const cancelTime = 2 * time.Second

// response is the other half of a command that is answered.
type response struct {
	levels                  levels
	cfg                     ResponseConfig
	id, result, errorText   string // paths
	progress, last, refused []condition
	cancelTopic, cancel     template
	qos                     byte
	turn                    chan struct{} // capacity 1; nil where answers tell what they belong to

	mu      sync.Mutex // guards waiting
	waiting []*request
}

// request is a call that waits for answers.
type request struct {
	vars    map[string]string // what named levels of an answer's topic have to be
	id      string
	replies chan []byte // capacity repliesAtOnce; what does not fit is dropped. Never closed.
}

func newResponse(cfg *ResponseConfig, c *command, key string) (*response, error) {
	r := &response{cfg: *cfg, qos: 1}
	var err error
	if r.levels, err = parseLevels(cfg.Topic); err != nil {
		return nil, bad(key+".topic", `a topic filter with named levels, such as "dev/{id}/reply"`, "%.80q %v", cfg.Topic, err)
	}
	for _, n := range r.levels.names {
		if n != idName && !slices.Contains(c.args, n) {
			return nil, bad(key+".topic", "{id} and the arguments of the command", "the command has no argument {%s}", n)
		}
	}
	for name, path := range map[string]string{"id": cfg.ID, "result": cfg.Result, "error": cfg.Error} {
		if text := checkPath(path); text != "" {
			return nil, bad(key+"."+name, allowedPath, "%.80q %s", path, text)
		}
	}
	r.id, r.result, r.errorText = trimRoot(cfg.ID), trimRoot(cfg.Result), trimRoot(cfg.Error)
	for _, f := range []struct {
		name string
		cfg  map[string]any
		to   *[]condition
	}{{"progress_if", cfg.ProgressIf, &r.progress}, {"last_if", cfg.LastIf, &r.last}, {"error_if", cfg.ErrorIf, &r.refused}} {
		if *f.to, err = conditions(f.cfg, key+"."+f.name); err != nil {
			return nil, err
		}
	}
	if r.progress != nil && r.last != nil {
		return nil, bad(key+".last_if", "progress_if or last_if", "both are there")
	}
	if cfg.QoS != nil {
		if *cfg.QoS > 2 {
			return nil, bad(key+".qos", "0, 1 or 2", "is %d", *cfg.QoS)
		}
		r.qos = *cfg.QoS
	}
	switch {
	case cfg.Timeout == 0:
		r.cfg.Timeout = 10 * time.Second
	case cfg.Timeout < time.Millisecond || cfg.Timeout > time.Hour:
		return nil, bad(key+".timeout", "1ms to 1h", "is %v", cfg.Timeout)
	}
	if cfg.CancelTopic == "" && cfg.CancelPayload != "" {
		return nil, bad(key+".cancel_topic", "cancel_topic together with cancel_payload", "is missing")
	}
	r.cancelTopic, r.cancel = parseTemplate(cfg.CancelTopic), parseTemplate(cfg.CancelPayload)
	for _, n := range append(r.cancelTopic.names(), r.cancel.names()...) {
		if n != idName && !slices.Contains(c.args, n) {
			return nil, bad(key+".cancel_topic", "{id} and the arguments of the command", "the command has no argument {%s}", n)
		}
	}
	if r.id == "" && !r.levels.has(idName) {
		r.turn = make(chan struct{}, 1)
	}
	return r, nil
}

// begin notes a request before it is sent. end forgets it.
func (r *response) begin(ctx context.Context, q *request) (end func(), err error) {
	if r.turn != nil {
		select {
		case r.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, wamp.NewError(wamp.ErrURICanceled, "the call ended while another one was waiting for its answer", nil)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) >= maxRequests {
		return nil, wamp.NewError(wamp.ErrURIBusy, "too many requests wait for an answer", wamp.Dict{"max": int64(maxRequests)})
	}
	r.waiting = append(r.waiting, q)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.waiting = slices.DeleteFunc(r.waiting, func(w *request) bool { return w == q })
		if r.turn != nil {
			<-r.turn
		}
	}, nil
}

// answer hands a message to the request that it answers.
func (r *response) answer(m *Message) (taken bool) {
	vars := r.levels.vars(m.Topic)
	id := ""
	if r.id != "" {
		if !jsonMessage(m.Payload) {
			return false
		}
		id, _ = scalarText(gjson.GetBytes(m.Payload, r.id))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
waiting:
	for _, q := range r.waiting {
		if r.id != "" && q.id != id {
			continue
		}
		for name, text := range vars {
			if q.vars[name] != text {
				continue waiting
			}
		}
		select {
		case q.replies <- slices.Clone(m.Payload):
			return true
		default:
			return false
		}
	}
	return false
}

// reply is what an answer says.
type reply struct {
	last    bool
	payload wamp.Payload
	err     error
}

// read takes an answer apart.
func (r *response) read(payload []byte) reply {
	in := input{payload: payload, valid: jsonMessage(payload)}
	if in.valid {
		in.root = gjson.ParseBytes(payload)
	}
	holds := func(c condition) bool { return c.holds(&in, in.root) }
	if slices.ContainsFunc(r.refused, holds) {
		text := "the device answered that it will not"
		if s, ok := scalarText(in.lookup(in.root, r.errorText)); ok && r.errorText != "" {
			text = s
		}
		return reply{last: true, err: wamp.NewError(errURIRefused, text, nil)}
	}
	all := func(cs []condition) bool {
		return !slices.ContainsFunc(cs, func(c condition) bool { return !holds(c) })
	}
	out := reply{last: true}
	switch {
	case r.progress != nil:
		out.last = !all(r.progress)
	case r.last != nil:
		out.last = all(r.last)
	}
	if r.result == "" {
		out.payload = PayloadFromMQTT(payload)
		return out
	}
	res := in.lookup(in.root, r.result)
	if res.Type == gjson.String {
		out.payload = PayloadFromMQTT([]byte(res.Str))
	} else if res.Exists() {
		out.payload = PayloadFromMQTT([]byte(res.Raw))
	}
	return out
}

const errURIRefused wamp.URI = "gantry.error.refused"

// ask sends a request and returns its last answer. progress is told of those
// before.
func (c *command) ask(ctx context.Context, m Message, args wamp.Dict, publish func(context.Context, Message) error, progress func(wamp.Payload) error) (wamp.Payload, error) {
	q := &request{id: args[idName].(string), vars: map[string]string{}, replies: make(chan []byte, repliesAtOnce)}
	for _, n := range c.response.levels.names {
		q.vars[n] = argumentText(args[n])
	}
	end, err := c.response.begin(ctx, q)
	if err != nil {
		return wamp.Payload{}, err
	}
	defer end()
	if err := publish(ctx, m); err != nil {
		return wamp.Payload{}, err
	}
	timeout := time.NewTimer(c.response.cfg.Timeout)
	defer timeout.Stop()
	for {
		select {
		case payload := <-q.replies:
			switch out := c.response.read(payload); {
			case out.err != nil, out.last:
				return out.payload, out.err
			case progress != nil:
				// It fails where the caller did not ask for progress.
				_ = progress(out.payload)
			}
			timeout.Reset(c.response.cfg.Timeout)
		case <-timeout.C:
			c.giveUp(ctx, args, publish)
			return wamp.Payload{}, wamp.NewError(wamp.ErrURIDevTimeout, "the device did not answer in time",
				wamp.Dict{"device": c.device, "timeout_ms": c.response.cfg.Timeout.Milliseconds()})
		case <-ctx.Done():
			c.giveUp(ctx, args, publish)
			return wamp.Payload{}, wamp.NewError(wamp.ErrURICanceled, "the call was cancelled", nil)
		}
	}
}

// giveUp tells the device that nobody waits any more.
func (c *command) giveUp(ctx context.Context, args wamp.Dict, publish func(context.Context, Message) error) {
	if c.response.cfg.CancelTopic == "" {
		return
	}
	text := func(name string) (string, error) { return topicPart(name, args[name]) }
	topic, err := c.response.cancelTopic.render(text)
	if err != nil || CheckTopic(topic) != nil {
		return
	}
	payload, err := renderPayload(c.response.cancel, func(name string) any { return args[name] })
	if err != nil {
		return
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTime)
	defer cancel()
	// The caller is told of the timeout or the cancelling, not of this.
	_ = publish(late, Message{Topic: topic, Payload: []byte(payload), QoS: c.qos})
}

// Answer hands a message to the call that waits for it, and reports whether one
// did. What was retained answers nothing.
func (r *Rules) Answer(m Message) bool {
	taken := false
	for _, c := range r.commands {
		if c.response == nil || !c.response.levels.filter.Matches(m.Topic) {
			continue
		}
		if m.Retained {
			r.stats.ignored.Add(1)
			r.reject("a retained MQTT message is no answer", c.at, m.Topic)
			continue
		}
		if c.response.answer(&m) {
			taken = true
			continue
		}
		r.stats.unclaimed.Add(1)
		r.reject("an MQTT message answers no call that waits", c.at, m.Topic)
	}
	return taken
}

// newID returns an identifier that no other request has.
func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// argumentText is an argument as text.
func argumentText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return plainText(v)
}

// topicPart is an argument as a part of a topic.
func topicPart(name string, v any) (string, error) {
	s := argumentText(v)
	if s == "" || !oneLevel(s) {
		return "", refuse(fmt.Sprintf("%s cannot be a part of a topic", name), wamp.Dict{"argument": name})
	}
	return s, nil
}
