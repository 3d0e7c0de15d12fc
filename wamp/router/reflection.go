package router

import (
	"maps"
	"slices"
	"sync"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// reflectionKinds are what can be described (AP "Interface Reflection").
var reflectionKinds = []string{"procedure", "topic", "error"}

// definitions are the descriptions of procedures, topics and errors in a realm.
// They belong to the session that gave them and go with it.
type definitions struct {
	mu    sync.Mutex // guards what follows, and described of all sessions
	byURI map[string]map[wamp.URI]*definition
	room  room
}

type definition struct {
	owner       *session
	description wamp.Payload // one argument, encoded: decoded it would take many times as much memory
	size        int
}

// put stores a description in the place of an older one of the same owner; mine is
// false for somebody else's, room for one too many, or one of a session that has
// been ended: nobody would take it out again.
func (d *definitions) put(kind string, uri wamp.URI, def *definition) (mine, room bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.byURI[kind][uri]
	if old != nil && old.owner != def.owner {
		return false, true
	}
	more := def.size
	if old != nil {
		more -= old.size
	}
	if d.room.full(def.owner, def.owner.described, more) || def.owner.gone.Load() {
		return true, false
	}
	if d.byURI == nil {
		d.byURI = map[string]map[wamp.URI]*definition{}
	}
	if d.byURI[kind] == nil {
		d.byURI[kind] = map[wamp.URI]*definition{}
	}
	d.byURI[kind][uri] = def
	d.room.used += more
	def.owner.described += more
	return true, true
}

func (d *definitions) get(kind string, uri wamp.URI) wamp.Dict {
	d.mu.Lock()
	def := d.byURI[kind][uri]
	d.mu.Unlock()
	if def == nil {
		return nil
	}
	// It has been encoded by define.
	args, _, err := serialize.Values(def.description)
	if err != nil || len(args) != 1 {
		return nil
	}
	description, _ := args[0].(wamp.Dict)
	return description
}

func (d *definitions) list(kind string) []wamp.URI {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.byURI[kind]))
}

// drop removes the descriptions of a session, of one URI or, with "", all; it
// returns what has gone.
func (d *definitions) drop(owner *session, uri wamp.URI) []wamp.URI {
	d.mu.Lock()
	defer d.mu.Unlock()
	var gone []wamp.URI
	for _, kind := range reflectionKinds {
		for u, def := range d.byURI[kind] {
			if def.owner == owner && (uri == "" || uri == u) {
				delete(d.byURI[kind], u)
				d.room.used -= def.size
				owner.described -= def.size
				gone = append(gone, u)
			}
		}
	}
	slices.Sort(gone)
	return gone
}

// kindOf reads the keyword argument kind.
func (a *metaArgs) kindOf(otherwise string) string {
	kind := a.option("kind")
	if kind == "" {
		return otherwise
	}
	if !slices.Contains(reflectionKinds, kind) {
		a.complain("the kind is unknown; allowed: procedure, topic, error")
	}
	return kind
}

// define describes a procedure, topic or error: uri, description (a dictionary);
// keyword kind, by default procedure. It needs the right to register the
// procedure or publish to the topic.
func (m *meta) define(s *session, a *metaArgs) (any, *wamp.Error) {
	uri, kind := wamp.URI(a.text(0, "uri")), a.kindOf("procedure")
	description, ok := a.argument(1).(wamp.Dict)
	if !ok {
		a.complain("the description is missing or no dictionary")
	}
	if a.wrong != nil {
		return nil, a.wrong
	}
	if !uri.Valid(m.realm.cfg.StrictURIs, wamp.MatchWildcard) || uri.Reserved() {
		return nil, wamp.NewError(wamp.ErrURIInvalidURI, "not a URI that one may describe: "+string(uri), nil)
	}
	action := ActionRegister
	if kind == "topic" {
		action = ActionPublish
	}
	if kind != "error" {
		if refusal := s.mayDo(action, uri, wamp.MatchExact); refusal != nil {
			return nil, refusal
		}
	}
	encoded, err := serialize.Encode(wamp.CBOR, wamp.Args(description))
	if err != nil {
		return nil, wamp.NewError(wamp.ErrURIInvalidArgument, err.Error(), nil)
	}
	mine, room := m.realm.definitions.put(kind, uri, &definition{owner: s, description: encoded, size: encoded.Size() + len(uri) + entrySize})
	switch {
	case !mine:
		return nil, wamp.NewError(wamp.ErrURIProcedureAlreadyExists, "another session has described "+string(uri), nil)
	case !room:
		return nil, wamp.NewError(wamp.ErrURILimit, "the descriptions of the realm take the most memory they may take (limits.description_bytes)", nil)
	}
	m.tell(onDefine, kind, string(uri))
	return noResult, nil
}

// undefine withdraws the caller's own descriptions of a URI.
func (m *meta) undefine(s *session, a *metaArgs) (any, *wamp.Error) {
	uri := wamp.URI(a.text(0, "uri"))
	if a.wrong != nil || uri == "" {
		return nil, a.wrong
	}
	for _, u := range m.realm.definitions.drop(s, uri) {
		m.tell(onUndefine, string(u))
	}
	return noResult, nil
}

// describe returns the description of a URI, of any kind, or null.
func (m *meta) describe(_ *session, a *metaArgs) (any, *wamp.Error) {
	uri := wamp.URI(a.text(0, "uri"))
	for _, kind := range reflectionKinds {
		if d := m.realm.definitions.get(kind, uri); d != nil {
			return d, nil
		}
	}
	return nil, nil
}

// reflectionList returns the URIs of a kind: what has been described and, for
// procedures, what is registered under its exact name.
func (m *meta) reflectionList(kind string, _ *metaArgs) (any, *wamp.Error) {
	all := m.realm.definitions.list(kind)
	if kind == "procedure" {
		d := m.realm.dealer
		d.mu.Lock()
		for uri := range d.registrations.exact {
			all = append(all, wamp.URI(uri))
		}
		d.mu.Unlock()
		slices.Sort(all)
		all = slices.Compact(all)
	}
	out := make(wamp.List, len(all))
	for i, uri := range all {
		out[i] = string(uri)
	}
	return out, nil
}

// reflectionDescribe returns one description, null where there is none.
func (m *meta) reflectionDescribe(kind string, a *metaArgs) (any, *wamp.Error) {
	if d := m.realm.definitions.get(kind, wamp.URI(a.text(0, "uri"))); d != nil {
		return d, nil
	}
	return nil, nil
}
