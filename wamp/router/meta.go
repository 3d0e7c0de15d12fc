package router

import (
	"sync"
	"sync/atomic"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// meta is what a realm tells of itself (AP "WAMP Meta API"): procedures below
// wamp. that the router serves itself, and events that it publishes there. Calls
// to them never enter the dealer, and events have no publisher.
type meta struct {
	realm      *realm
	procedures map[wamp.URI]metaProcedure

	// watchers counts the subscriptions that get meta events: those that begin with
	// wamp. Whoever subscribes to everything means the application's topics, as "#"
	// leaves out "$SYS" in MQTT. While there are none, no event is made.
	watchers atomic.Int32

	// Events are queued while the lock is held under which things change, which
	// fixes their order, and published once it has been released.
	mu    sync.Mutex // guards queue
	queue []metaEvent

	publishing sync.Mutex // held by whoever publishes what was queued
}

type metaEvent struct {
	topic wamp.URI
	args  wamp.List
}

// metaProcedure serves one call by s. The error is the caller's.
type metaProcedure func(s *session, a *metaArgs) (any, *wamp.Error)

// The topics of meta events.
const (
	onJoin        wamp.URI = "wamp.session.on_join"
	onLeave       wamp.URI = "wamp.session.on_leave"
	onSubCreate   wamp.URI = "wamp.subscription.on_create"
	onSubscribe   wamp.URI = "wamp.subscription.on_subscribe"
	onUnsubscribe wamp.URI = "wamp.subscription.on_unsubscribe"
	onSubDelete   wamp.URI = "wamp.subscription.on_delete"
	onRegCreate   wamp.URI = "wamp.registration.on_create"
	onRegister    wamp.URI = "wamp.registration.on_register"
	onUnregister  wamp.URI = "wamp.registration.on_unregister"
	onRegDelete   wamp.URI = "wamp.registration.on_delete"
	onDefine      wamp.URI = "wamp.reflect.on_define"
	onUndefine    wamp.URI = "wamp.reflect.on_undefine"
)

func newMeta(r *realm) *meta {
	m := &meta{realm: r}
	m.procedures = map[wamp.URI]metaProcedure{
		"wamp.session.count":            m.sessionCount,
		"wamp.session.list":             m.sessionList,
		"wamp.session.get":              m.sessionGet,
		"wamp.session.kill":             m.kill,
		"wamp.session.kill_by_authid":   m.killByAuthID,
		"wamp.session.kill_by_authrole": m.killByAuthRole,
		"wamp.session.kill_all":         m.killAll,

		"wamp.session.add_testament":    m.addTestament,
		"wamp.session.flush_testaments": m.flushTestaments,

		"wamp.subscription.list":              m.subscriptionList,
		"wamp.subscription.lookup":            m.subscriptionLookup,
		"wamp.subscription.match":             m.subscriptionMatch,
		"wamp.subscription.get":               m.subscriptionGet,
		"wamp.subscription.list_subscribers":  m.subscriberList,
		"wamp.subscription.count_subscribers": m.subscriberCount,
		"wamp.subscription.remove_subscriber": m.removeSubscriber,
		"wamp.subscription.get_events":        m.getEvents,

		"wamp.registration.list":          m.registrationList,
		"wamp.registration.lookup":        m.registrationLookup,
		"wamp.registration.match":         m.registrationMatch,
		"wamp.registration.get":           m.registrationGet,
		"wamp.registration.list_callees":  m.calleeList,
		"wamp.registration.count_callees": m.calleeCount,
		"wamp.registration.remove_callee": m.removeCallee,

		"wamp.reflect.define":   m.define,
		"wamp.reflect.undefine": m.undefine,
		"wamp.reflect.describe": m.describe,
	}
	for _, kind := range reflectionKinds {
		m.procedures["wamp.reflection."+wamp.URI(kind)+".list"] = func(s *session, a *metaArgs) (any, *wamp.Error) { return m.reflectionList(kind, a) }
		m.procedures["wamp.reflection."+wamp.URI(kind)+".describe"] = func(s *session, a *metaArgs) (any, *wamp.Error) { return m.reflectionDescribe(kind, a) }
	}
	return m
}

// serve answers a CALL to a procedure of the meta API.
func (m *meta) serve(s *session, c *wamp.Call, procedure metaProcedure) {
	a, err := metaArgsOf(c.Payload)
	if err != nil {
		s.refuse(wamp.TypeCall, c.Request, wamp.ErrURIInvalidArgument, err.Error())
		return
	}
	result, refusal := procedure(s, a)
	m.flush()
	if refusal == nil {
		refusal = a.wrong
	}
	if refusal != nil {
		s.refused(refusal.URI, refusal.Text)
		s.send(&wamp.ErrorReply{RequestType: wamp.TypeCall, Request: c.Request, URI: refusal.URI, Payload: refusal.Payload})
		return
	}
	answer := &wamp.Result{Request: c.Request}
	if result != noResult {
		answer.Payload = wamp.Args(result)
	}
	if err := s.offer(answer); err != nil {
		if isTransport(err) {
			s.lost(err)
			return
		}
		s.refuse(wamp.TypeCall, c.Request, undeliverable(err), err.Error())
	}
}

// noResult is the result of procedures that return nothing.
var noResult any = struct{}{}

// watched reports whether anybody can hear an event.
func (m *meta) watched() bool { return m.watchers.Load() > 0 }

// tell queues an event, if anybody can hear it.
func (m *meta) tell(topic wamp.URI, args ...any) {
	if !m.watched() {
		return
	}
	m.mu.Lock()
	m.queue = append(m.queue, metaEvent{topic, args})
	m.mu.Unlock()
}

// flush publishes what is queued, in order. No lock of the realm is held. While
// another goroutine is at it this one waits: whoever causes events does not get
// ahead of their publication, so the queue stays short, and nobody has to publish
// without end what others cause.
func (m *meta) flush() {
	m.mu.Lock()
	empty := len(m.queue) == 0
	m.mu.Unlock()
	if empty {
		return
	}
	m.publishing.Lock()
	defer m.publishing.Unlock()
	m.mu.Lock()
	events := m.queue
	m.queue = nil
	m.mu.Unlock()
	for _, e := range events {
		m.realm.broker.emit(e.topic, wamp.Args(e.args...))
	}
}

// metaArgs reads the arguments of a meta procedure. The first one that is not
// what it should be is noted in wrong.
type metaArgs struct {
	list  wamp.List
	dict  wamp.Dict
	wrong *wamp.Error
}

func metaArgsOf(p wamp.Payload) (*metaArgs, error) {
	if p.Format() == wamp.NoFormat {
		// Components of this process hand over Go values of any type, such as wamp.URI.
		var err error
		if p, err = serialize.Encode(wamp.CBOR, p); err != nil {
			return nil, err
		}
	}
	args, kwargs, err := serialize.Values(p)
	return &metaArgs{list: args, dict: kwargs}, err
}

func (a *metaArgs) complain(text string) {
	if a.wrong == nil {
		a.wrong = wamp.NewError(wamp.ErrURIInvalidArgument, text, nil)
	}
}

// argument returns the positional argument i, or nil.
func (a *metaArgs) argument(i int) any {
	if i < len(a.list) {
		return a.list[i]
	}
	return nil
}

func (a *metaArgs) id(i int, what string) wamp.ID {
	n, ok := a.argument(i).(int64)
	if !ok || !wamp.ID(n).Valid() {
		a.complain(what + " is missing or no ID")
		return 0
	}
	return wamp.ID(n)
}

func (a *metaArgs) text(i int, what string) string {
	s, ok := a.argument(i).(string)
	if !ok {
		a.complain(what + " is missing or no text")
	}
	return s
}

// option returns the keyword argument, which must be a text; "" when absent.
func (a *metaArgs) option(key string) string { return textOf(a.dict, key, a) }

func textOf(d wamp.Dict, key string, a *metaArgs) string {
	v, given := d[key]
	if !given || v == nil {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		a.complain(key + " is no text")
	}
	return s
}

// matchOption reads options.match from the positional argument i.
func (a *metaArgs) matchOption(i int) wamp.Match {
	if a.argument(i) == nil {
		return wamp.MatchExact
	}
	options, ok := a.argument(i).(wamp.Dict)
	if !ok {
		a.complain("options is no dictionary")
		return wamp.MatchExact
	}
	match, ok := wamp.ParseMatch(textOf(options, "match", a))
	if !ok {
		a.complain("the match policy is unknown; allowed: exact, prefix, wildcard")
	}
	return match
}

// stamp writes a time as the meta API does: ISO 8601 in UTC, milliseconds.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// byPolicy is the result of the list procedures: IDs for each match policy.
type byPolicy [3]wamp.List

func (l *byPolicy) add(m wamp.Match, id wamp.ID) { l[m] = append(l[m], id) }

func (l *byPolicy) dict() wamp.Dict {
	d := wamp.Dict{}
	for m, ids := range l {
		if ids == nil {
			ids = wamp.List{}
		}
		d[wamp.Match(m).String()] = ids
	}
	return d
}
