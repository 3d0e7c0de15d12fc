package wamp

import "errors"

// Error URIs of the specification (BP "Predefined URIs" and AP).
const (
	ErrURIInvalidURI               URI = "wamp.error.invalid_uri"
	ErrURINoSuchProcedure          URI = "wamp.error.no_such_procedure"
	ErrURIProcedureAlreadyExists   URI = "wamp.error.procedure_already_exists"
	ErrURINoSuchRegistration       URI = "wamp.error.no_such_registration"
	ErrURINoSuchSubscription       URI = "wamp.error.no_such_subscription"
	ErrURINoSuchSession            URI = "wamp.error.no_such_session"
	ErrURIInvalidArgument          URI = "wamp.error.invalid_argument"
	ErrURIProtocolViolation        URI = "wamp.error.protocol_violation"
	ErrURINotAuthorized            URI = "wamp.error.not_authorized"
	ErrURIAuthorizationFailed      URI = "wamp.error.authorization_failed"
	ErrURINoSuchRealm              URI = "wamp.error.no_such_realm"
	ErrURINoSuchRole               URI = "wamp.error.no_such_role"
	ErrURINoMatchingAuthMethod     URI = "wamp.error.no_matching_auth_method"
	ErrURIAuthenticationFailed     URI = "wamp.error.authentication_failed"
	ErrURICanceled                 URI = "wamp.error.canceled"
	ErrURITimeout                  URI = "wamp.error.timeout"
	ErrURIUnavailable              URI = "wamp.error.unavailable"
	ErrURINoAvailableCallee        URI = "wamp.error.no_available_callee"
	ErrURIPayloadSizeExceeded      URI = "wamp.error.payload_size_exceeded"
	ErrURIOptionNotAllowed         URI = "wamp.error.option_not_allowed"
	ErrURIOptionDisallowedDisclose URI = "wamp.error.option_disallowed.disclose_me"
	ErrURIFeatureNotSupported      URI = "wamp.error.feature_not_supported"
	ErrURINetworkFailure           URI = "wamp.error.network_failure"
	ErrURIRuntimeError             URI = "wamp.error.runtime_error"
	ErrURISystemShutdown           URI = "wamp.close.system_shutdown"
	CloseURINormal                 URI = "wamp.close.normal"
	CloseURICloseRealm             URI = "wamp.close.close_realm"
	CloseURIGoodbyeAndOut          URI = "wamp.close.goodbye_and_out"
	CloseURILogout                 URI = "wamp.close.logout"
	CloseURIKilled                 URI = "wamp.close.killed"
)

// Error URIs of Gantry (docs/topics.md). Each carries structured kwargs.
const (
	ErrURIOutOfRange  URI = "gantry.error.out_of_range"
	ErrURIReadOnly    URI = "gantry.error.read_only"
	ErrURIBusy        URI = "gantry.error.busy"
	ErrURIOffline     URI = "gantry.error.offline"
	ErrURIDevTimeout  URI = "gantry.error.timeout"
	ErrURISafeLock    URI = "gantry.error.safe_lock"
	ErrURINotVerified URI = "gantry.error.not_verified"
	ErrURIExpired     URI = "gantry.error.expired"
	ErrURIBadConfig   URI = "gantry.error.bad_config"
	ErrURILimit       URI = "gantry.error.limit"
	ErrURIStorageFull URI = "gantry.error.storage_full"
)

// Error is the answer ERROR or ABORT of the protocol as a Go error: match it
// with errors.As. A handler that returns one (wrapped or not) decides the URI
// and payload the caller sees; any other error becomes
// wamp.error.runtime_error with its text as the only argument.
type Error struct {
	URI     URI
	Payload Payload
	// Text is what a person reads, from the first argument where it is text.
	Text string
}

// Error returns the URI and the text.
func (e *Error) Error() string {
	if e.Text == "" {
		return string(e.URI)
	}
	return string(e.URI) + ": " + e.Text
}

// NewError returns an Error with text as its first argument and details as
// keyword arguments; details may be nil and is kept.
func NewError(uri URI, text string, details Dict) *Error {
	return &Error{URI: uri, Payload: Values(List{text}, details), Text: text}
}

// IsError reports whether err is, or wraps, an Error with this URI.
func IsError(err error, uri URI) bool {
	var e *Error
	return errors.As(err, &e) && e.URI == uri
}

// Errors of peers and sessions.
var (
	// ErrQueueFull is returned by TrySend when the message would take the
	// receiver's queue over its limit. Nothing was queued.
	ErrQueueFull = errors.New("receiver's queue is full")
	// ErrTooLarge is returned by a send whose message is over what the other
	// side said it would take. Nothing was queued.
	ErrTooLarge = errors.New("message is larger than the receiver takes")
	// ErrClosed is returned by operations on a closed peer or a session that
	// has left its realm.
	ErrClosed = errors.New("connection is closed")
	// ErrNotConnected is returned by a reconnecting client while it has no
	// session.
	ErrNotConnected = errors.New("not connected to the router")
)
