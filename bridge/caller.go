package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

const (
	// maxCalls bounds the calls of one Caller that are under way or wait for their turn.
	maxCalls = 64
	// maxRemembered bounds the messages that are known when they come again.
	maxRemembered = 4096
)

// outcome is what becomes of a message that a rule [[call]] is for.
type outcome int

const (
	callMade outcome = iota
	callFailed
	callRetained
	callQueued
	callOld
	callUndated
	callRepeated
	callMalformed
	callBusy
	callOutcomes // how many there are
)

// CallStats count what has become of the messages that rules [[call]] are for.
type CallStats struct {
	Made      uint64 // calls that returned a result
	Failed    uint64 // calls that returned an error
	Retained  uint64 // refused: kept by the broker from before
	Queued    uint64 // refused: of unknown age, and perhaps kept while the client was away
	Old       uint64 // refused: too far from the time of the gateway
	Undated   uint64 // refused: without the time that the rule needs
	Repeated  uint64 // refused: has called before, or may have
	Malformed uint64 // refused: without what the rule needs
	Busy      uint64 // refused: too many calls are under way
}

// Each calls f with every count and its name.
func (s CallStats) Each(f func(outcome string, n uint64)) {
	f("made", s.Made)
	f("failed", s.Failed)
	f("retained", s.Retained)
	f("queued", s.Queued)
	f("old", s.Old)
	f("undated", s.Undated)
	f("repeated", s.Repeated)
	f("malformed", s.Malformed)
	f("busy", s.Busy)
}

// callCounts are the counts behind CallStats.
type callCounts [callOutcomes]atomic.Uint64

func (c *callCounts) stats() CallStats {
	n := func(o outcome) uint64 { return c[o].Load() }
	return CallStats{
		Made: n(callMade), Failed: n(callFailed), Retained: n(callRetained), Queued: n(callQueued), Old: n(callOld),
		Undated: n(callUndated), Repeated: n(callRepeated), Malformed: n(callMalformed), Busy: n(callBusy),
	}
}

// refusals are the lines of the log.
var refusals = [callOutcomes]string{
	callFailed:    "a call by an MQTT message has failed",
	callRetained:  "an MQTT message does not call, as it was retained",
	callQueued:    "an MQTT message does not call, as the broker may have kept it for a while",
	callOld:       "an MQTT message does not call, as its time is too far from that of the gateway",
	callUndated:   "an MQTT message does not call, as it does not tell its time",
	callRepeated:  "an MQTT message does not call, as it has come before",
	callMalformed: "an MQTT message does not call, as it lacks what the call needs",
	callBusy:      "an MQTT message does not call, as too many calls are under way",
}

// Caller makes the calls of the rules [[call]]. A message calls at most once: what is
// refused, lost or has failed is not tried again. Calls of one procedure are made in
// the order of their messages. It is safe for concurrent use.
type Caller struct {
	rules   *Rules
	sess    wamp.Session
	publish func(ctx context.Context, m Message) error
	began   time.Time
	seen    memory
	jobs    chan job // capacity maxCalls, as many as pending allows; never closed
	pending atomic.Int32

	mu    sync.Mutex         // guards lanes
	lanes map[wamp.URI][]job // calls of a procedure that wait, while one goroutine makes them
}

// job is a call that is due, or the answer to a message that may not call.
type job struct {
	wanted
	topic   string
	before  time.Time // it is not made later
	refused error     // nil: a call
}

// NewCaller returns a caller that calls in sess and publishes answers by publish.
func (r *Rules) NewCaller(sess wamp.Session, publish func(ctx context.Context, m Message) error) *Caller {
	return &Caller{
		rules: r, sess: sess, publish: publish, began: r.origin.cfg.Now(), seen: memory{seed: maphash.MakeSeed()},
		jobs: make(chan job, maxCalls), lanes: map[wamp.URI][]job{},
	}
}

// Run makes calls until ctx ends, and returns when none is under way.
func (c *Caller) Run(ctx context.Context) error {
	var active sync.WaitGroup
	defer active.Wait()
	for {
		select {
		case j := <-c.jobs:
			if c.line(j) {
				active.Go(func() { c.serve(ctx, j.procedure) })
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// line adds a call to those of its procedure, and reports whether nobody makes them.
func (c *Caller) line(j job) (idle bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	waiting, busy := c.lanes[j.procedure]
	c.lanes[j.procedure] = append(waiting, j)
	return !busy
}

// serve makes the calls of a procedure one after the other.
func (c *Caller) serve(ctx context.Context, procedure wamp.URI) {
	for {
		c.mu.Lock()
		waiting := c.lanes[procedure]
		if len(waiting) == 0 {
			delete(c.lanes, procedure)
			c.mu.Unlock()
			return
		}
		j := waiting[0]
		c.lanes[procedure] = waiting[1:]
		c.mu.Unlock()
		c.perform(ctx, j)
		c.pending.Add(-1)
	}
}

// Take has a message call the procedures of the rules that are for it, unless they
// refuse it. It does not wait for the calls.
func (c *Caller) Take(m Message) {
	for _, rule := range c.rules.calls {
		vars, other := rule.vars(m.Topic)
		if other != "" {
			continue
		}
		now := c.rules.origin.cfg.Now()
		w, o, why := c.rules.judge(rule, &m, vars, now)
		j := job{wanted: w, topic: m.Topic, before: now.Add(rule.timeout)}
		if until := w.stamp.Add(rule.maxAge); !w.stamp.IsZero() && until.Before(j.before) {
			j.before = until
		}
		room := c.pending.Add(1) <= maxCalls
		if o == callMade && !room {
			o = callBusy
		}
		if o == callMade && c.repeated(rule, &m, w) {
			o = callRepeated
		}
		if o != callMade {
			j.refused = c.refuse(w, o, why, m.Topic)
		}
		if !room || o != callMade && j.refused == nil {
			c.pending.Add(-1)
			continue
		}
		c.jobs <- j // has room for all that are pending
	}
}

// judge decides whether a message may call, as far as that depends on the message
// alone. callMade stands for yes.
func (r *Rules) judge(rule *callRule, m *Message, vars map[string]string, now time.Time) (w wanted, o outcome, why string) {
	if m.Retained {
		return wanted{rule: rule}, callRetained, ""
	}
	if w, why = rule.read(m, vars, r.origin); why != "" {
		return w, callMalformed, why
	}
	switch {
	case rule.time != nil && w.stamp.IsZero():
		return w, callUndated, ""
	case rule.time != nil && now.Sub(w.stamp).Abs() > rule.maxAge:
		return w, callOld, ""
	case rule.time == nil && (m.Queued || m.Again) && rule.ignoreQueued:
		return w, callQueued, ""
	}
	return w, callMade, ""
}

// repeated reports whether a message has called before, or may have, and remembers it.
func (c *Caller) repeated(rule *callRule, m *Message, w wanted) bool {
	// What was sent before this program ran may have called then.
	if m.Again && (rule.id == "" && rule.time == nil || w.stamp.Before(c.began)) {
		return true
	}
	switch {
	case rule.id != "":
		return !c.seen.first(rule.at, w.id, nil)
	case rule.time != nil: // the time is a part of the payload
		return !c.seen.first(rule.at, m.Topic, m.Payload)
	}
	return false
}

// refuse counts and logs a message that does not call, and returns what its sender is
// told: nothing where that might reach another one, who waits for the answer to the
// same message.
func (c *Caller) refuse(w wanted, o outcome, why, topic string) error {
	c.rules.stats.calls[o].Add(1)
	more := []any{}
	if why != "" {
		more = append(more, "why", why)
	}
	c.rules.reject(refusals[o], w.rule.at, topic, more...)
	switch o {
	case callMalformed:
		return wamp.NewError(wamp.ErrURIInvalidArgument, why, nil)
	case callOld, callUndated:
		return wamp.NewError(wamp.ErrURIExpired, "the message is too old, from the future, or without a time", wamp.Dict{"max_age_ms": w.rule.maxAge.Milliseconds()})
	}
	return nil
}

// perform makes a call and publishes what it returns.
func (c *Caller) perform(ctx context.Context, j job) {
	if j.refused == nil && c.rules.origin.cfg.Now().After(j.before) {
		j.refused = c.refuse(j.wanted, callOld, "", j.topic)
	}
	if j.refused != nil {
		c.fail(ctx, j.wanted, j.refused, j.topic)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, j.rule.timeout)
	defer cancel()
	opts := wamp.CallOptions{DiscloseMe: true, ReceiveProgress: j.rule.answers}
	result, err := c.sess.CallProgress(ctx, j.procedure, opts, j.payload, func(p wamp.Payload) {
		c.answer(ctx, j.wanted, p, map[string]any{"progress": true}, j.topic)
	})
	if err == nil {
		c.rules.stats.calls[callMade].Add(1)
		c.answer(ctx, j.wanted, result, map[string]any{}, j.topic)
		return
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = wamp.NewError(wamp.ErrURITimeout, "the call has not returned in time", wamp.Dict{"timeout_ms": j.rule.timeout.Milliseconds()})
	}
	c.rules.stats.calls[callFailed].Add(1)
	c.rules.reject(refusals[callFailed], j.rule.at, j.topic, "procedure", string(j.procedure), "error", err)
	c.fail(context.WithoutCancel(ctx), j.wanted, err, j.topic)
}

// fail publishes an error as the answer.
func (c *Caller) fail(ctx context.Context, w wanted, err error, topic string) {
	var e *wamp.Error
	if !errors.As(err, &e) {
		e = wamp.NewError(wamp.ErrURIRuntimeError, err.Error(), nil)
	}
	c.answer(ctx, w, e.Payload, map[string]any{"error": string(e.URI)}, topic)
}

// answerTime is what an answer gets on its way.
const answerTime = 2 * time.Second

// answer publishes an answer: an object of args, kwargs, the identifier of the message
// and more.
func (c *Caller) answer(ctx context.Context, w wanted, p wamp.Payload, more map[string]any, topic string) {
	if !w.rule.answers {
		return
	}
	to, err := w.rule.response.render(func(name string) (string, error) {
		if name == idName {
			return topicPart(name, w.id)
		}
		return topicPart(name, w.vars[name])
	})
	if err == nil {
		more["id"] = w.id
		if w.rule.id == "" {
			delete(more, "id")
		}
		var m Message
		if m, err = answerMessage(to, p, more, w.rule.qos); err == nil {
			ctx, cancel := context.WithTimeout(ctx, answerTime)
			defer cancel()
			err = c.publish(ctx, m)
		}
	}
	if err != nil {
		c.rules.stats.unanswered.Add(1)
		c.rules.reject("the answer to an MQTT message is lost", w.rule.at, topic, "error", err)
	}
}

func answerMessage(topic string, p wamp.Payload, more map[string]any, qos byte) (Message, error) {
	raw, err := serialize.Encode(wamp.JSON, p)
	if err != nil {
		return Message{}, err
	}
	args, kwargs := raw.Raw()
	if !empty(args) {
		more["args"] = json.RawMessage(args)
	}
	if !empty(kwargs) {
		more["kwargs"] = json.RawMessage(kwargs)
	}
	payload, err := json.Marshal(more)
	return Message{Topic: topic, Payload: payload, QoS: qos}, err
}

// memory knows the last messages, by their hash.
type memory struct {
	seed maphash.Seed

	mu    sync.Mutex // guards the rest
	known map[uint64]bool
	order []uint64 // a ring once it is full
	next  int
}

// first notes a message and reports whether it was not noted before.
func (r *memory) first(rule, text string, payload []byte) bool {
	var h maphash.Hash
	h.SetSeed(r.seed)
	for _, s := range []string{rule, text} {
		_, _ = h.WriteString(s)
		_ = h.WriteByte(0)
	}
	_, _ = h.Write(payload)
	sum := h.Sum64()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[sum] {
		return false
	}
	if r.known == nil {
		r.known = map[uint64]bool{}
	}
	r.known[sum] = true
	if len(r.order) < maxRemembered {
		r.order = append(r.order, sum)
		return true
	}
	delete(r.known, r.order[r.next])
	r.order[r.next] = sum
	r.next = (r.next + 1) % maxRemembered
	return true
}
