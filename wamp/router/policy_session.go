package router

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"gantry/wamp"
)

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
		s.realm.refusals.log(s, slog.LevelWarn, "authorization failed", a, uri, slog.Any("error", err))
		return mode, wamp.NewError(wamp.ErrURIAuthorizationFailed, "the router could not decide; ask its operator", nil)
	case !allowed:
		s.realm.denied.Add(1)
		s.realm.refusals.log(s, slog.LevelInfo, "denied", a, uri, slog.String("hint", "gantry policy test explains it"))
		return mode, wamp.NewError(wamp.ErrURINotAuthorized, "the role "+s.identity.AuthRole+" may not "+string(a)+" "+string(uri), nil)
	}
	return mode, nil
}

// refusalLog writes at most one line a second, however often somebody tries.
type refusalLog struct {
	mu     sync.Mutex // guards what follows
	last   time.Time
	silent int // refusals since then
}

func (l *refusalLog) log(s *session, level slog.Level, text string, a Action, uri wamp.URI, more slog.Attr) {
	l.mu.Lock()
	now := time.Now()
	if now.Sub(l.last) < time.Second {
		l.silent++
		l.mu.Unlock()
		return
	}
	silent := l.silent
	l.last, l.silent = now, 0
	l.mu.Unlock()
	s.realm.log.LogAttrs(context.Background(), level, text, slog.Uint64("session", uint64(s.id)), slog.String("authid", s.identity.AuthID),
		slog.String("authrole", s.identity.AuthRole), slog.String("action", string(a)), slog.String("uri", string(uri)),
		slog.Int("unlogged", silent), more)
}
