package router

import (
	"cmp"
	"slices"

	"gantry/wamp"
)

// describe returns the SubscriptionDetails of the meta API.
func (s *subscription) describe() wamp.Dict {
	return wamp.Dict{"id": s.id, "created": stamp(s.created), "uri": string(s.topic), "match": s.match.String()}
}

// describe returns the RegistrationDetails of the meta API.
func (r *registration) describe() wamp.Dict {
	return wamp.Dict{
		"id": r.id, "created": stamp(r.created), "uri": string(r.procedure),
		"match": r.match.String(), "invoke": r.invoke.String(),
	}
}

var (
	errNoSuchSubscription = wamp.NewError(wamp.ErrURINoSuchSubscription, "there is no subscription with this ID", nil)
	errNoSuchRegistration = wamp.NewError(wamp.ErrURINoSuchRegistration, "there is no registration with this ID", nil)
)

func (m *meta) subscriptionList(*session, *metaArgs) (any, *wamp.Error) {
	b := m.realm.broker
	b.mu.RLock()
	defer b.mu.RUnlock()
	var l byPolicy
	for _, id := range sortedIDs(b.byID) {
		l.add(b.byID[id].match, id)
	}
	return l.dict(), nil
}

func sortedIDs[T any](m map[wamp.ID]T) []wamp.ID {
	ids := make([]wamp.ID, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (m *meta) subscriptionLookup(_ *session, a *metaArgs) (any, *wamp.Error) {
	topic, match := wamp.URI(a.text(0, "topic")), a.matchOption(1)
	b := m.realm.broker
	b.mu.RLock()
	defer b.mu.RUnlock()
	if sub, ok := b.subscriptions.get(match, topic); ok {
		return sub.id, nil
	}
	return nil, nil
}

func (m *meta) subscriptionMatch(_ *session, a *metaArgs) (any, *wamp.Error) {
	topic := wamp.URI(a.text(0, "topic"))
	b := m.realm.broker
	b.mu.RLock()
	defer b.mu.RUnlock()
	var ids wamp.List
	for _, sub := range b.subscriptions.match(nil, topic) {
		ids = append(ids, sub.id)
	}
	if ids == nil {
		return nil, nil
	}
	return ids, nil
}

// withSubscription calls f under the broker's lock with the subscription that the
// first argument names.
func (m *meta) withSubscription(a *metaArgs, f func(*subscription) any) (any, *wamp.Error) {
	id := a.id(0, "subscription")
	b := m.realm.broker
	b.mu.RLock()
	defer b.mu.RUnlock()
	sub := b.byID[id]
	if sub == nil {
		return nil, cmp.Or(a.wrong, errNoSuchSubscription)
	}
	return f(sub), nil
}

func (m *meta) subscriptionGet(_ *session, a *metaArgs) (any, *wamp.Error) {
	return m.withSubscription(a, func(sub *subscription) any { return sub.describe() })
}

func (m *meta) subscriberList(_ *session, a *metaArgs) (any, *wamp.Error) {
	return m.withSubscription(a, func(sub *subscription) any { return sessionIDs(sub.members) })
}

func (m *meta) subscriberCount(_ *session, a *metaArgs) (any, *wamp.Error) {
	return m.withSubscription(a, func(sub *subscription) any { return len(sub.members) })
}

// removeSubscriber takes a session out of a subscription: subscription, session;
// keyword reason. The session is told (AP "Subscription Revocation").
func (m *meta) removeSubscriber(_ *session, a *metaArgs) (any, *wamp.Error) {
	id, who := a.id(0, "subscription"), a.id(1, "session")
	g, refusal := a.farewell()
	if refusal != nil {
		return nil, refusal
	}
	s := m.realm.session(who)
	if s == nil || !m.realm.broker.revoke(s, id, g.Reason) {
		return nil, errNoSuchSubscription
	}
	return noResult, nil
}

func (m *meta) registrationList(*session, *metaArgs) (any, *wamp.Error) {
	d := m.realm.dealer
	d.mu.Lock()
	defer d.mu.Unlock()
	var l byPolicy
	for _, id := range sortedIDs(d.byID) {
		l.add(d.byID[id].match, id)
	}
	return l.dict(), nil
}

func (m *meta) registrationLookup(_ *session, a *metaArgs) (any, *wamp.Error) {
	procedure, match := wamp.URI(a.text(0, "procedure")), a.matchOption(1)
	d := m.realm.dealer
	d.mu.Lock()
	defer d.mu.Unlock()
	if reg, ok := d.registrations.get(match, procedure); ok {
		return reg.id, nil
	}
	return nil, nil
}

func (m *meta) registrationMatch(_ *session, a *metaArgs) (any, *wamp.Error) {
	procedure := wamp.URI(a.text(0, "procedure"))
	d := m.realm.dealer
	d.mu.Lock()
	defer d.mu.Unlock()
	if reg := d.best(procedure); reg != nil {
		return reg.id, nil
	}
	return nil, nil
}

// withRegistration calls f under the dealer's lock with the registration that the
// first argument names.
func (m *meta) withRegistration(a *metaArgs, f func(*registration) any) (any, *wamp.Error) {
	id := a.id(0, "registration")
	d := m.realm.dealer
	d.mu.Lock()
	defer d.mu.Unlock()
	reg := d.byID[id]
	if reg == nil {
		return nil, cmp.Or(a.wrong, errNoSuchRegistration)
	}
	return f(reg), nil
}

func (m *meta) registrationGet(_ *session, a *metaArgs) (any, *wamp.Error) {
	return m.withRegistration(a, func(reg *registration) any { return reg.describe() })
}

func (m *meta) calleeList(_ *session, a *metaArgs) (any, *wamp.Error) {
	return m.withRegistration(a, func(reg *registration) any {
		ids := make(wamp.List, len(reg.callees))
		for i, c := range reg.callees {
			ids[i] = c.session.id
		}
		return ids
	})
}

func (m *meta) calleeCount(_ *session, a *metaArgs) (any, *wamp.Error) {
	return m.withRegistration(a, func(reg *registration) any { return len(reg.callees) })
}

// removeCallee takes a session out of a registration: registration, session;
// keyword reason. The session is told (AP "Registration Revocation").
func (m *meta) removeCallee(_ *session, a *metaArgs) (any, *wamp.Error) {
	id, who := a.id(0, "registration"), a.id(1, "session")
	g, refusal := a.farewell()
	if refusal != nil {
		return nil, refusal
	}
	s := m.realm.session(who)
	if s == nil || !m.realm.dealer.evict(s, id, g.Reason) {
		return nil, errNoSuchRegistration
	}
	return noResult, nil
}
