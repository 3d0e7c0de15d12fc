package router

import (
	"sync"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// testaments are the events that a session leaves behind (AP "Testament"): one
// bucket for each scope, published in the order detached, destroyed. As there is
// no session resumption here, both fall due at the same moment.
type testaments struct {
	scopes [2][]*wamp.Publish
	count  int
	bytes  [2]int
}

// testamentRoom is the memory that all testaments take.
type testamentRoom struct {
	mu   sync.Mutex // guards room; taken with a session's lock held
	room room
}

// take takes n bytes for s, if it may have them. s.mu is held.
func (r *testamentRoom) take(s *session, n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.room.full(s, s.testaments.bytes[0]+s.testaments.bytes[1], n) {
		return false
	}
	r.room.used += n
	return true
}

func (r *testamentRoom) give(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.room.used -= n
}

// scopeOf reads the keyword argument scope.
func (a *metaArgs) scopeOf() int {
	switch a.option("scope") {
	case "", "destroyed":
		return 1
	case "detached":
		return 0
	}
	a.complain("the scope is unknown; allowed: destroyed, detached")
	return 1
}

// addTestament takes topic, args, kwargs; keywords publish_options, scope.
func (m *meta) addTestament(s *session, a *metaArgs) (any, *wamp.Error) {
	topic, scope := wamp.URI(a.text(0, "topic")), a.scopeOf()
	args, ok := a.argument(1).(wamp.List)
	if !ok && a.argument(1) != nil {
		a.complain("args is no list")
	}
	kwargs, ok := a.argument(2).(wamp.Dict)
	if !ok && a.argument(2) != nil {
		a.complain("kwargs is no dictionary")
	}
	options, ok := a.dict["publish_options"].(wamp.Dict)
	if !ok && a.dict["publish_options"] != nil {
		a.complain("publish_options is no dictionary")
	}
	if a.wrong != nil {
		return nil, a.wrong
	}
	if !topic.Valid(m.realm.cfg.StrictURIs, wamp.MatchExact) || topic.Reserved() {
		return nil, wamp.NewError(wamp.ErrURIInvalidURI, "the topic is no URI that one may publish to: "+string(topic), nil)
	}
	will := testamentOptions(options)
	var refusal *wamp.Error
	if will.DiscloseMe, refusal = s.mayDisclose(ActionPublish, topic, will.DiscloseMe); refusal != nil {
		return nil, refusal
	}
	// Encoded, for decoded values take many times as much memory.
	payload := wamp.Values(args, kwargs)
	if len(args)+len(kwargs) > 0 {
		var err error
		if payload, err = serialize.Encode(wamp.CBOR, payload); err != nil {
			return nil, wamp.NewError(wamp.ErrURIInvalidArgument, err.Error(), nil)
		}
	}
	size := payload.Size() + len(topic) + filterBytes(will.Filter) + 256
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, errNoSuchSession
	}
	if s.testaments.count >= m.realm.cfg.MaxTestaments {
		return nil, wamp.NewError(wamp.ErrURILimit, "this session has the most testaments it may have (limits.testaments)", nil)
	}
	if !m.realm.testaments.take(s, size) {
		return nil, wamp.NewError(wamp.ErrURILimit, "the testaments of the realm take the most memory they may take (limits.testament_bytes)", nil)
	}
	s.testaments.bytes[scope] += size
	s.testaments.count++
	s.testaments.scopes[scope] = append(s.testaments.scopes[scope],
		&wamp.Publish{Topic: topic, Options: will, Payload: payload})
	return noResult, nil
}

// testamentOptions reads what makes sense of PUBLISH.Options for an event that
// nobody waits for.
func testamentOptions(d wamp.Dict) wamp.PublishOptions {
	flag := func(key string) bool { b, _ := d[key].(bool); return b }
	o := wamp.PublishOptions{DiscloseMe: flag("disclose_me"), Retain: flag("retain")}
	o.RKey, _ = d["rkey"].(string)
	f := wamp.PublishFilter{
		Exclude: idsOf(d["exclude"]), Eligible: idsOf(d["eligible"]),
		ExcludeAuthID: textsOf(d["exclude_authid"]), EligibleAuthID: textsOf(d["eligible_authid"]),
		ExcludeAuthRole: textsOf(d["exclude_authrole"]), EligibleAuthRole: textsOf(d["eligible_authrole"]),
	}
	for _, key := range []string{"exclude", "eligible", "exclude_authid", "eligible_authid", "exclude_authrole", "eligible_authrole"} {
		if d[key] != nil {
			o.Filter = &f
		}
	}
	return o
}

// idsOf reads a list of IDs; what is none is left out. A list that is there but
// empty stays empty, which is not the same as absent.
func idsOf(v any) []wamp.ID {
	l, ok := v.(wamp.List)
	if !ok {
		return nil
	}
	ids := make([]wamp.ID, 0, len(l))
	for _, v := range l {
		if n, ok := v.(int64); ok && wamp.ID(n).Valid() {
			ids = append(ids, wamp.ID(n))
		}
	}
	return ids
}

func textsOf(v any) []string {
	l, ok := v.(wamp.List)
	if !ok {
		return nil
	}
	texts := make([]string, 0, len(l))
	for _, v := range l {
		if s, ok := v.(string); ok {
			texts = append(texts, s)
		}
	}
	return texts
}

func (m *meta) flushTestaments(s *session, a *metaArgs) (any, *wamp.Error) {
	scope := a.scopeOf()
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.wrong == nil {
		s.testaments.count -= len(s.testaments.scopes[scope])
		s.testaments.scopes[scope] = nil
		m.realm.testaments.give(s.testaments.bytes[scope])
		s.testaments.bytes[scope] = 0
	}
	return noResult, nil
}
