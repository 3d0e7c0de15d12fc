package router

import (
	"fmt"
	"log/slog"
	"strings"

	"gantry/internal/ratelog"
	"gantry/wamp"
)

func newRealm(c *RealmConfig, log *slog.Logger) *realm {
	r := &realm{
		cfg: c, log: log.With("realm", string(c.Name)), rare: ratelog.New(log.With("realm", string(c.Name)), 0, nil), sessions: map[wamp.ID]*session{},
		definitions: definitions{room: c.room(c.MaxDefinitionBytes)},
		testaments:  testamentRoom{room: c.room(c.MaxTestamentBytes)},
	}
	r.meta = newMeta(r)
	r.broker, r.dealer = newBroker(c, r.meta), newDealer(c, r.meta)
	return r
}

// find returns a realm that exists, nil otherwise.
func (r *Router) find(name wamp.URI) *realm {
	r.realmsMu.RLock()
	defer r.realmsMu.RUnlock()
	return r.realms[name]
}

// Retained hands the last values of a realm whose topics begin with prefix to each, in
// no order. filtered says that a value is for some sessions only, or that its payload
// is opaque. each must not call the router; it may keep the payload.
func (r *Router) Retained(realm, prefix wamp.URI, each func(topic wamp.URI, publication wamp.ID, p wamp.Payload, filtered bool)) {
	if found := r.find(realm); found != nil {
		found.broker.retained.each(wamp.MatchPrefix, prefix, func(topic wamp.URI, v *retainedValue) {
			each(topic, v.publication, v.payload, v.filter != nil || v.details.Passthru != nil)
		})
	}
}

// demand returns the configuration for a realm that does not exist; nil when it
// may not be made. The name comes from outside.
func (r *Router) demand(name wamp.URI) *RealmConfig {
	if r.cfg.OnDemand == nil || !name.Valid(false, wamp.MatchExact) {
		return nil
	}
	cfg, ok := r.cfg.OnDemand(name)
	if !ok {
		return nil
	}
	cfg.Name = wamp.URI(strings.Clone(string(name)))
	if err := cfg.complete(); err != nil {
		r.rare.Log(slog.LevelError, "a realm cannot be made on demand", "error", err)
		return nil
	}
	return &cfg
}

// claim returns the realm of that name for one more session, and makes it on demand.
func (r *Router) claim(name wamp.URI) (*realm, *wamp.Error) {
	var cfg *RealmConfig
	if realm := r.find(name); realm == nil || realm.onDemand { // which may go meanwhile
		cfg = r.demand(name)
	}
	r.realmsMu.Lock()
	defer r.realmsMu.Unlock()
	realm := r.realms[name]
	switch {
	case realm != nil:
	case cfg == nil:
		return nil, noRealm(name)
	case r.demanded >= r.cfg.MaxRealms:
		return nil, wamp.NewError(wamp.ErrURILimit, "the router has the most realms it may make on demand (realm.max_on_demand)", nil)
	default:
		realm = newRealm(cfg, r.log)
		realm.onDemand = true
		r.demanded++
		r.realms[cfg.Name] = realm
		r.rare.Info("realm made on demand", "realm", string(cfg.Name))
	}
	realm.claims++
	return realm, nil
}

// release gives a claim back. A realm that was made on demand goes with the last.
func (r *Router) release(realm *realm) {
	r.realmsMu.Lock()
	defer r.realmsMu.Unlock()
	realm.claims--
	if realm.onDemand && realm.claims == 0 {
		delete(r.realms, realm.cfg.Name)
		last := realm.stats()
		last.Sessions, last.Retained, last.RetainedBytes = 0, 0, 0
		r.gone.add(last)
		r.demanded--
		r.rare.Info("realm made on demand is empty and gone", "realm", string(realm.cfg.Name))
	}
}

func noRealm(name wamp.URI) *wamp.Error {
	return wamp.NewError(wamp.ErrURINoSuchRealm, fmt.Sprintf("there is no realm %.100q here", name), nil)
}
