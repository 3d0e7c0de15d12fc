package router

import (
	"cmp"
	"slices"

	"gantry/wamp"
)

// details describes a session as the session meta API does
// (AP "Session Meta API").
func (s *session) details() wamp.Dict {
	info := s.peer.Info()
	transport := wamp.Dict{
		"type": info.Transport, "serializer": info.Format.String(), "peer": info.Remote, "encrypted": info.Encrypted,
	}
	if info.Cookie != "" {
		transport["cookie"] = info.Cookie
	}
	return wamp.Dict{
		"session": s.id, "authid": s.identity.AuthID, "authrole": s.identity.AuthRole,
		"authmethod": s.identity.AuthMethod, "authprovider": s.identity.AuthProvider,
		"transport": transport,
	}
}

// chosen returns the sessions for which ok holds, in the order of their IDs.
func (r *realm) chosen(ok func(*session) bool) []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*session
	for _, s := range r.sessions {
		if ok(s) {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b *session) int { return cmp.Compare(a.id, b.id) })
	return all
}

func (r *realm) session(id wamp.ID) *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions[id]
}

// roleFilter reads the optional list of roles that count and list take.
func (a *metaArgs) roleFilter() func(*session) bool {
	v := a.argument(0)
	if v == nil {
		return func(*session) bool { return true }
	}
	roles, ok := v.(wamp.List)
	if !ok {
		a.complain("filter_authroles is no list of roles")
	}
	return func(s *session) bool { return slices.Contains(roles, any(s.identity.AuthRole)) }
}

func (m *meta) sessionCount(_ *session, a *metaArgs) (any, *wamp.Error) {
	return len(m.realm.chosen(a.roleFilter())), nil
}

func (m *meta) sessionList(_ *session, a *metaArgs) (any, *wamp.Error) {
	return sessionIDs(m.realm.chosen(a.roleFilter())), nil
}

func sessionIDs(sessions []*session) wamp.List {
	ids := make(wamp.List, len(sessions))
	for i, s := range sessions {
		ids[i] = s.id
	}
	return ids
}

var errNoSuchSession = wamp.NewError(wamp.ErrURINoSuchSession, "no other session with this ID has joined the realm", nil)

// sessionGet adds to what the specification lists what the session has said and
// heard.
func (m *meta) sessionGet(_ *session, a *metaArgs) (any, *wamp.Error) {
	id := a.id(0, "session")
	s := m.realm.session(id)
	if s == nil {
		return nil, cmp.Or(a.wrong, errNoSuchSession)
	}
	d := s.details()
	t := s.traffic()
	d["traffic"] = wamp.Dict{
		"received": t.received, "sent": t.sent, "dropped": s.dropped.Load(),
		"received_bytes": t.receivedBytes, "sent_bytes": t.sentBytes,
	}
	return d, nil
}

// farewell reads the keyword arguments reason and message of the kill procedures.
func (a *metaArgs) farewell() (*wamp.Goodbye, *wamp.Error) {
	g := &wamp.Goodbye{Reason: wamp.CloseURINormal}
	if v, given := a.dict["reason"]; given && v != nil {
		uri, ok := v.(string)
		if !ok || !wamp.URI(uri).Valid(false, wamp.MatchExact) {
			return nil, wamp.NewError(wamp.ErrURIInvalidURI, "reason is no URI", nil)
		}
		g.Reason = wamp.URI(uri)
	}
	if text := a.option("message"); text != "" {
		g.Details = wamp.Dict{"message": text}
	}
	return g, a.wrong
}

func (m *meta) kill(by *session, a *metaArgs) (any, *wamp.Error) {
	id := a.id(0, "session")
	g, refusal := a.farewell()
	if refusal != nil {
		return nil, refusal
	}
	victim := m.realm.session(id)
	if victim == nil || victim == by {
		return nil, errNoSuchSession
	}
	m.killAllOf([]*session{victim}, g)
	return noResult, nil
}

func (m *meta) killByAuthID(by *session, a *metaArgs) (any, *wamp.Error) {
	authID := a.text(0, "authid")
	killed, refusal := m.killChosen(a, func(s *session) bool { return s != by && s.identity.AuthID == authID })
	return sessionIDs(killed), refusal
}

func (m *meta) killByAuthRole(by *session, a *metaArgs) (any, *wamp.Error) {
	role := a.text(0, "authrole")
	killed, refusal := m.killChosen(a, func(s *session) bool { return s != by && s.identity.AuthRole == role })
	return len(killed), refusal
}

func (m *meta) killAll(by *session, a *metaArgs) (any, *wamp.Error) {
	killed, refusal := m.killChosen(a, func(s *session) bool { return s != by })
	return len(killed), refusal
}

func (m *meta) killChosen(a *metaArgs, ok func(*session) bool) ([]*session, *wamp.Error) {
	g, refusal := a.farewell()
	if refusal != nil {
		return nil, refusal
	}
	// The gateway's own components keep the realm alive: whoever ends them by ID
	// means it, whoever sweeps does not.
	victims := m.realm.chosen(func(s *session) bool { return ok(s) && !s.internal() })
	m.killAllOf(victims, g)
	return victims, nil
}

// internal reports whether a session belongs to the process that runs the
// router.
func (s *session) internal() bool { return s.identity.AuthMethod == methodInternal }

// killAllOf says goodbye to sessions, who do not come back by a cookie. When it
// returns they have left the realm.
func (m *meta) killAllOf(victims []*session, g *wamp.Goodbye) {
	for _, s := range victims {
		if s.identity.Logout != nil {
			s.identity.Logout()
		}
		s.end(g)
		m.realm.depart(s)
	}
}
