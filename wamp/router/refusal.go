package router

import (
	"log/slog"

	"gantry/wamp"
)

// explain says what is logged of a refused request, by its URI, and what there is
// to do about it. The text is "" where somebody else logs it: denials with what was
// asked, or where there is nothing to do.
func explain(uri wamp.URI) (text, hint string) {
	switch uri {
	case wamp.ErrURILimit:
		return "request refused: over the limit", "raise the limit that the text names if the client is meant to do that"
	case wamp.ErrURINoSuchProcedure:
		return "call refused: nobody has registered the procedure", "start the component that serves it, or correct the caller"
	case wamp.ErrURIProcedureAlreadyExists:
		return "request refused: the procedure is somebody else's", "end the other session, or have both share it (invoke)"
	case wamp.ErrURINoSuchSubscription, wamp.ErrURINoSuchRegistration, wamp.ErrURINoSuchSession:
		return "request refused: it is about what does not exist", "correct or update the client"
	case wamp.ErrURIInvalidURI:
		return "request refused: not a valid URI", "correct the client; realm.strict_uris says what is valid"
	case wamp.ErrURIInvalidArgument:
		return "request refused: invalid argument", "correct the client: the text says what is allowed"
	case wamp.ErrURINoAvailableCallee, wamp.ErrURIUnavailable:
		return "call refused: no callee is available", "its callees are busy or do not read: look at them, or start more"
	case wamp.ErrURIPayloadSizeExceeded:
		return "message refused: larger than its receiver takes", "raise the receiver's limit, or send less"
	case wamp.ErrURIFeatureNotSupported:
		return "request refused: it needs what is not supported", "update the client that the text names"
	case wamp.ErrURITimeout:
		return "call ended: no answer in time", "look at the callee, or give it more time"
	case wamp.ErrURIStorageFull:
		return "publication refused: it cannot be kept", "the text says why; look at the disk"
	case wamp.ErrURIRuntimeError:
		return "request refused: the router cannot serve it", "the lines before this one say why"
	case wamp.ErrURIOptionDisallowedDisclose:
		return "request refused: disclose_me is not allowed", "correct the client, or disclose of its role"
	}
	return "", ""
}

// explainLogin is explain for those who were not admitted.
func explainLogin(uri wamp.URI) (hint string) {
	switch uri {
	case wamp.ErrURINoSuchRealm:
		return "correct the client, or add the realm: realm.also, realm.on_demand"
	case wamp.ErrURINoSuchRole:
		return "add the role, or correct who assigns it"
	case wamp.ErrURINoMatchingAuthMethod:
		return "the text says why; add the user, or see listen.anonymous"
	case wamp.ErrURIAuthenticationFailed:
		return "correct the client's credentials; if nobody owns to it, somebody is guessing"
	case wamp.ErrURILimit:
		return "raise realm.max_on_demand if so many realms are wanted"
	case wamp.ErrURIProtocolViolation:
		return "something connects that speaks no WAMP, or too slowly: update or replace it"
	}
	return "the text says why"
}

// refused counts and logs a refusal.
func (s *session) refused(uri wamp.URI, text string) {
	s.realm.refused.add(uri)
	line, hint := explain(uri)
	if line == "" {
		return
	}
	s.realm.rare.Often(line, func() []any {
		return []any{"session", uint64(s.id), "authid", s.identity.AuthID, "reason", string(uri), "text", text, "hint", hint}
	})
}

// turnedAway counts and logs why a peer was not admitted.
func (r *Router) turnedAway(p wamp.Peer, uri wamp.URI, text string) {
	r.refused.add(uri)
	info := p.Info()
	r.rare.Log(slog.LevelInfo, "session refused", "remote", info.Remote, "transport", info.Transport,
		"reason", string(uri), "text", text, "hint", explainLogin(uri))
}
