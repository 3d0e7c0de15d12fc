package router

import "gantry/wamp"

// admits refuses sessions of roles that do not exist, and everybody from outside
// the process that comes with the role of those inside, whoever gave it to him. A
// nil Policy has every role.
func (p *Policy) admits(who Identity) *wamp.Error {
	if p == nil || p.Knows(who.AuthRole) && (who.AuthRole != RoleTrusted || who.AuthMethod == methodInternal) {
		return nil
	}
	return wamp.NewError(wamp.ErrURINoSuchRole, "there is no role "+who.AuthRole+" here", nil)
}

// authorized asks the realm's authorizer and answers a refusal; request 0 asks
// for silence (unacknowledged PUBLISH).
func (s *session) authorized(a Action, uri wamp.URI, m wamp.Match, t wamp.MessageType, request wamp.ID) bool {
	return s.answerRefusal(s.mayDo(a, uri, m), t, request)
}

// permitted is authorized for publications and calls. disclose says whether the
// receivers learn who the session is; asked is whether it wants that.
func (s *session) permitted(a Action, uri wamp.URI, asked bool, t wamp.MessageType, request wamp.ID) (disclose, ok bool) {
	disclose, refusal := s.mayDisclose(a, uri, asked)
	return disclose, s.answerRefusal(refusal, t, request)
}

// answerRefusal reports whether there is none.
func (s *session) answerRefusal(refusal *wamp.Error, t wamp.MessageType, request wamp.ID) bool {
	if refusal != nil && request != 0 {
		s.refuse(t, request, refusal.URI, refusal.Text)
	}
	return refusal == nil
}

// mayDo asks the realm's authorizer; nil means yes.
func (s *session) mayDo(a Action, uri wamp.URI, m wamp.Match) *wamp.Error {
	_, refusal := s.decide(a, uri, m)
	return refusal
}

// mayDisclose is mayDo for publications and calls, of which it also says whether
// they tell who the session is.
func (s *session) mayDisclose(a Action, uri wamp.URI, asked bool) (disclose bool, refusal *wamp.Error) {
	mode, refusal := s.decide(a, uri, wamp.MatchExact)
	if refusal == nil && asked && mode == DiscloseNever {
		refusal = wamp.NewError(wamp.ErrURIOptionDisallowedDisclose, "the role "+s.identity.AuthRole+" may not ask for disclose_me here", nil)
		s.realm.denied.Add(1)
	}
	return asked || mode == DiscloseAlways, refusal
}

// decide asks the realm's policy, or else its authorizer. It may block, so no lock
// is held.
func (s *session) decide(a Action, uri wamp.URI, m wamp.Match) (mode Disclosure, refusal *wamp.Error) {
	var (
		allowed bool
		err     error
	)
	if p := s.realm.cfg.Policy; p != nil {
		var d Decision
		d, err = p.Verdict(s.identity, a, uri, m)
		allowed, mode = d.Allowed, d.Disclose
	} else {
		allowed, err = s.realm.cfg.Authorize(s.identity, a, uri, m)
	}
	switch {
	case err != nil:
		s.realm.undecided.Add(1)
		s.realm.rare.Warn("authorization failed", s.asked(a, uri, "error", err)...)
		return mode, wamp.NewError(wamp.ErrURIAuthorizationFailed, "the router could not decide; ask its operator", nil)
	case !allowed:
		s.realm.denied.Add(1)
		s.realm.rare.Info("denied", s.asked(a, uri, "hint", "gantry policy test explains it")...)
		return mode, wamp.NewError(wamp.ErrURINotAuthorized, "the role "+s.identity.AuthRole+" may not "+string(a)+" "+string(uri), nil)
	}
	return mode, nil
}

// asked are the attributes of a log line about what a session has asked for.
func (s *session) asked(a Action, uri wamp.URI, more ...any) []any {
	return append([]any{"session", uint64(s.id), "authid", s.identity.AuthID, "authrole", s.identity.AuthRole,
		"action", string(a), "uri", string(uri)}, more...)
}
