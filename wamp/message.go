package wamp

// MessageType is the number that opens a message (BP "Messages").
type MessageType uint16

// The message types.
const (
	TypeHello        MessageType = 1
	TypeWelcome      MessageType = 2
	TypeAbort        MessageType = 3
	TypeChallenge    MessageType = 4
	TypeAuthenticate MessageType = 5
	TypeGoodbye      MessageType = 6
	TypeError        MessageType = 8
	TypePublish      MessageType = 16
	TypePublished    MessageType = 17
	TypeSubscribe    MessageType = 32
	TypeSubscribed   MessageType = 33
	TypeUnsubscribe  MessageType = 34
	TypeUnsubscribed MessageType = 35
	TypeEvent        MessageType = 36
	TypeCall         MessageType = 48
	TypeCancel       MessageType = 49
	TypeResult       MessageType = 50
	TypeRegister     MessageType = 64
	TypeRegistered   MessageType = 65
	TypeUnregister   MessageType = 66
	TypeUnregistered MessageType = 67
	TypeInvocation   MessageType = 68
	TypeInterrupt    MessageType = 69
	TypeYield        MessageType = 70
)

var typeNames = map[MessageType]string{
	TypeHello: "HELLO", TypeWelcome: "WELCOME", TypeAbort: "ABORT", TypeChallenge: "CHALLENGE",
	TypeAuthenticate: "AUTHENTICATE", TypeGoodbye: "GOODBYE", TypeError: "ERROR",
	TypePublish: "PUBLISH", TypePublished: "PUBLISHED", TypeSubscribe: "SUBSCRIBE",
	TypeSubscribed: "SUBSCRIBED", TypeUnsubscribe: "UNSUBSCRIBE", TypeUnsubscribed: "UNSUBSCRIBED",
	TypeEvent: "EVENT", TypeCall: "CALL", TypeCancel: "CANCEL", TypeResult: "RESULT",
	TypeRegister: "REGISTER", TypeRegistered: "REGISTERED", TypeUnregister: "UNREGISTER",
	TypeUnregistered: "UNREGISTERED", TypeInvocation: "INVOCATION", TypeInterrupt: "INTERRUPT",
	TypeYield: "YIELD",
}

// String returns the specification's name, or "message type N".
func (t MessageType) String() string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	var b [5]byte
	i := len(b)
	for n := t; ; n /= 10 {
		i--
		b[i] = byte('0' + n%10)
		if n < 10 {
			break
		}
	}
	return "message type " + string(b[i:])
}

// Message is one WAMP message: a pointer to one of the structs below, or a
// *Shared. Options and details that Gantry does not know are dropped when read
// (BP: unknown attributes are ignored); HELLO, WELCOME, ABORT, CHALLENGE,
// AUTHENTICATE, GOODBYE and ERROR keep theirs whole.
type Message interface {
	// Type returns the message's type.
	Type() MessageType
}

// Hello opens a session: [HELLO, Realm|uri, Details|dict].
type Hello struct {
	Realm   URI
	Details Dict
}

// Welcome answers Hello: [WELCOME, Session|id, Details|dict].
type Welcome struct {
	Session ID
	Details Dict
}

// Abort refuses a session or ends it for a violation; it is never answered:
// [ABORT, Details|dict, Reason|uri].
type Abort struct {
	Details Dict
	Reason  URI
	Payload Payload
}

// Challenge asks a client to authenticate: [CHALLENGE, AuthMethod|string, Extra|dict].
type Challenge struct {
	AuthMethod string
	Extra      Dict
}

// Authenticate answers a challenge: [AUTHENTICATE, Signature|string, Extra|dict].
type Authenticate struct {
	Signature string
	Extra     Dict
}

// Goodbye ends a session: [GOODBYE, Details|dict, Reason|uri].
type Goodbye struct {
	Details Dict
	Reason  URI
}

// ErrorReply answers a request with an error:
// [ERROR, REQUEST.Type|int, REQUEST.Request|id, Details|dict, Error|uri, Arguments|list, ArgumentsKw|dict].
type ErrorReply struct {
	RequestType MessageType
	Request     ID
	Details     Dict
	URI         URI
	Payload     Payload
}

// Passthru holds the attributes of payload passthru mode (AP "Payload Passthru Mode").
type Passthru struct {
	Scheme, Serializer, Cipher, KeyID string
}

// PublishFilter restricts the receivers of an event (AP "Subscriber Black- and
// Whitelisting"). A nil list is absent; a list that is present but empty is not:
// an empty eligible list means nobody.
type PublishFilter struct {
	Exclude, Eligible                 []ID
	ExcludeAuthID, EligibleAuthID     []string
	ExcludeAuthRole, EligibleAuthRole []string
}

// Once makes a publication idempotent: a router that understands it (Gantry)
// keeps the highest (Epoch, Seq) of every stream and acknowledges a publication
// that is not above it without routing it again. One that it has refused is judged
// anew, and refused if later ones of its topic have been routed since. Attribute
// "_once": [stream, epoch, seq], and true behind them for Again.
type Once struct {
	Stream     string
	Epoch, Seq uint64
	// Again: the publisher knows that it comes out of order, behind others of its
	// stream, since it or one before it was refused.
	Again bool
}

// PublishOptions are the options of PUBLISH.
type PublishOptions struct {
	Acknowledge bool           // answer with PUBLISHED or ERROR
	IncludeMe   bool           // exclude_me = false: the publisher receives its own event too
	DiscloseMe  bool           // disclose_me
	Retain      bool           // keep as the topic's last value (AP "Event Retention")
	Unretain    bool           // "_unretain": drop the topic's last value; the event is still routed
	RKey        string         // rkey: routing key of sharded subscriptions
	Filter      *PublishFilter // nil: everybody
	Passthru    *Passthru      // ppt_*
	Once        *Once          // "_once"
	// KeepOrRefuse, with Acknowledge and Retain, has the router refuse a publication whose
	// value it cannot keep, in place of routing it alone. It is not on the wire.
	KeepOrRefuse bool
}

// Publish asks the broker to distribute an event:
// [PUBLISH, Request|id, Options|dict, Topic|uri, Arguments|list, ArgumentsKw|dict].
type Publish struct {
	Request ID
	Options PublishOptions
	Topic   URI
	Payload Payload
}

// Published acknowledges Publish: [PUBLISHED, PUBLISH.Request|id, Publication|id].
type Published struct{ Request, Publication ID }

// SubscribeOptions are the options of SUBSCRIBE.
type SubscribeOptions struct {
	Match       Match
	GetRetained bool   // get_retained: also send the last value kept for each matching topic
	NKey        string // nkey: node key of sharded subscriptions
	Overflow    Overflow
}

// Overflow says what happens to the events of a subscription whose subscriber
// does not read fast enough. Attribute "_overflow", which Gantry understands.
type Overflow uint8

// The policies. Whatever is dropped is counted.
const (
	// OverflowDefault is what the realm is configured to do.
	OverflowDefault Overflow = iota
	// OverflowDropOldest drops the events that have waited longest.
	OverflowDropOldest
	// OverflowLatest keeps the newest event of each topic.
	OverflowLatest
	// OverflowDropNewest drops what does not fit.
	OverflowDropNewest
	// OverflowDisconnect ends the session.
	OverflowDisconnect
	// OverflowInvalid stands for a policy on the wire that is none of these.
	OverflowInvalid Overflow = 255
)

var overflowNames = [...]string{"", "drop_oldest", "latest", "drop_newest", "disconnect"}

// String returns the policy's name on the wire.
func (o Overflow) String() string {
	if int(o) < len(overflowNames) {
		return overflowNames[o]
	}
	return "invalid"
}

// ParseOverflow returns the policy named s; the empty string is the default.
func ParseOverflow(s string) (Overflow, bool) {
	for i, n := range overflowNames {
		if s == n {
			return Overflow(i), true
		}
	}
	return 0, false
}

// Subscribe is [SUBSCRIBE, Request|id, Options|dict, Topic|uri].
type Subscribe struct {
	Request ID
	Options SubscribeOptions
	Topic   URI
}

// Subscribed is [SUBSCRIBED, SUBSCRIBE.Request|id, Subscription|id].
type Subscribed struct{ Request, Subscription ID }

// Unsubscribe is [UNSUBSCRIBE, Request|id, SUBSCRIBED.Subscription|id].
type Unsubscribe struct{ Request, Subscription ID }

// Unsubscribed answers Unsubscribe, [UNSUBSCRIBED, UNSUBSCRIBE.Request|id], or
// tells of a revocation, [UNSUBSCRIBED, 0, {subscription, reason}], in which
// case Request is 0 and the other two are set.
type Unsubscribed struct {
	Request      ID
	Subscription ID
	Reason       URI
}

// EventDetails are the details of EVENT. Zero values are absent on the wire.
type EventDetails struct {
	Publisher         ID
	PublisherAuthID   string
	PublisherAuthRole string
	Topic             URI // set for pattern subscriptions
	Retained          bool
	Trustlevel        *uint32
	Passthru          *Passthru
	// From is the publisher's session, disclosed or not, and Kept says that the event
	// was published to be retained. Both are set where the realm is to tell them, for
	// transports in the router's own process that map other protocols, and never sent.
	From ID
	Kept bool
}

// Event is a publication on its way to a subscriber:
// [EVENT, SUBSCRIBED.Subscription|id, PUBLISHED.Publication|id, Details|dict, PUBLISH.Arguments|list, PUBLISH.ArgumentsKw|dict].
type Event struct {
	Subscription ID
	Publication  ID
	Details      EventDetails
	Payload      Payload
}

// CallOptions are the options of CALL.
type CallOptions struct {
	Timeout         uint64 // milliseconds; 0 = none
	ReceiveProgress bool
	Progress        bool // progressive call invocations: more chunks follow
	DiscloseMe      bool
	RKey            string
	RunMode         string // runmode: "" or "partition" or "all"
	Passthru        *Passthru
	ForwardFor      []Forwarded // forward_for: for whom a component calls that passes calls on
	// Cancel is how a session cancels the call when its caller gives it up. It is no
	// option of CALL and not sent with it.
	Cancel CancelMode
}

// Forwarded is a caller whose call a component has passed on from another router: an
// item of forward_for, which has the first caller first and the next ones behind it, as
// Crossbar's router links and Autobahn have it.
type Forwarded struct {
	Session  ID // at its router; required
	AuthID   string
	AuthRole string
}

// MaxForwarded is the most items that forward_for may have.
const MaxForwarded = 16

// Call is [CALL, Request|id, Options|dict, Procedure|uri, Arguments|list, ArgumentsKw|dict].
type Call struct {
	Request   ID
	Options   CallOptions
	Procedure URI
	Payload   Payload
}

// CancelMode says how a call is cancelled (AP "Call Canceling").
type CancelMode uint8

// The cancel modes. A missing mode is killnowait, the specification's default.
const (
	CancelKillNoWait CancelMode = iota
	CancelKill
	CancelSkip
	// CancelInvalid stands for a mode on the wire that is none of these.
	CancelInvalid CancelMode = 255
)

var cancelNames = [...]string{"killnowait", "kill", "skip"}

// String returns the mode's name on the wire.
func (m CancelMode) String() string {
	if int(m) < len(cancelNames) {
		return cancelNames[m]
	}
	return "invalid"
}

// ParseCancelMode returns the mode named s; the empty string is killnowait.
func ParseCancelMode(s string) (CancelMode, bool) {
	switch s {
	case "", "killnowait":
		return CancelKillNoWait, true
	case "kill":
		return CancelKill, true
	case "skip":
		return CancelSkip, true
	}
	return 0, false
}

// Cancel is [CANCEL, CALL.Request|id, Options|dict].
type Cancel struct {
	Request ID
	Mode    CancelMode
}

// ResultDetails are the details of RESULT.
type ResultDetails struct {
	Progress       bool
	Callee         ID
	CalleeAuthID   string
	CalleeAuthRole string
	Passthru       *Passthru
}

// Result is [RESULT, CALL.Request|id, Details|dict, YIELD.Arguments|list, YIELD.ArgumentsKw|dict].
type Result struct {
	Request ID
	Details ResultDetails
	Payload Payload
}

// Invoke is the policy of shared registrations (AP "Shared Registration").
type Invoke uint8

// The invocation policies. The zero value is single.
const (
	InvokeSingle Invoke = iota
	InvokeRoundRobin
	InvokeRandom
	InvokeFirst
	InvokeLast
	// InvokeInvalid stands for a policy on the wire that is none of these.
	InvokeInvalid Invoke = 255
)

var invokeNames = [...]string{"single", "roundrobin", "random", "first", "last"}

// String returns the policy's name on the wire.
func (i Invoke) String() string {
	if int(i) < len(invokeNames) {
		return invokeNames[i]
	}
	return "invalid"
}

// ParseInvoke returns the policy named s; the empty string is single.
func ParseInvoke(s string) (Invoke, bool) {
	if s == "" {
		return InvokeSingle, true
	}
	for i, n := range invokeNames {
		if s == n {
			return Invoke(i), true
		}
	}
	return 0, false
}

// RegisterOptions are the options of REGISTER.
type RegisterOptions struct {
	Match           Match
	Invoke          Invoke
	Concurrency     uint32 // calls in progress at this callee; 0 = no limit
	DiscloseCaller  bool   // disclose_caller
	ForceReregister bool   // force_reregister: replace whoever holds the procedure
	ForwardTimeout  bool   // forward_timeout: the callee enforces the timeout
}

// Register is [REGISTER, Request|id, Options|dict, Procedure|uri].
type Register struct {
	Request   ID
	Options   RegisterOptions
	Procedure URI
}

// Registered is [REGISTERED, REGISTER.Request|id, Registration|id].
type Registered struct{ Request, Registration ID }

// Unregister is [UNREGISTER, Request|id, REGISTERED.Registration|id].
type Unregister struct{ Request, Registration ID }

// Unregistered answers Unregister, [UNREGISTERED, UNREGISTER.Request|id], or
// tells of a revocation, [UNREGISTERED, 0, {registration, reason}].
type Unregistered struct {
	Request      ID
	Registration ID
	Reason       URI
}

// InvocationDetails are the details of INVOCATION. Zero values are absent.
type InvocationDetails struct {
	Caller          ID
	CallerAuthID    string
	CallerAuthRole  string
	Procedure       URI // set for pattern registrations
	Timeout         uint64
	ReceiveProgress bool
	Progress        bool
	Trustlevel      *uint32
	Passthru        *Passthru
	ForwardFor      []Forwarded // forward_for: for whom the caller calls, as it says
}

// Invocation is [INVOCATION, Request|id, REGISTERED.Registration|id, Details|dict, CALL.Arguments|list, CALL.ArgumentsKw|dict].
type Invocation struct {
	Request      ID
	Registration ID
	Details      InvocationDetails
	Payload      Payload
}

// Interrupt is [INTERRUPT, INVOCATION.Request|id, Options|dict].
type Interrupt struct {
	Request ID
	Mode    CancelMode
	Reason  URI
}

// YieldOptions are the options of YIELD.
type YieldOptions struct {
	Progress bool
	Passthru *Passthru
}

// Yield is [YIELD, INVOCATION.Request|id, Options|dict, Arguments|list, ArgumentsKw|dict].
type Yield struct {
	Request ID
	Options YieldOptions
	Payload Payload
}

// Type returns HELLO.
func (*Hello) Type() MessageType { return TypeHello }

// Type returns WELCOME.
func (*Welcome) Type() MessageType { return TypeWelcome }

// Type returns ABORT.
func (*Abort) Type() MessageType { return TypeAbort }

// Type returns CHALLENGE.
func (*Challenge) Type() MessageType { return TypeChallenge }

// Type returns AUTHENTICATE.
func (*Authenticate) Type() MessageType { return TypeAuthenticate }

// Type returns GOODBYE.
func (*Goodbye) Type() MessageType { return TypeGoodbye }

// Type returns ERROR.
func (*ErrorReply) Type() MessageType { return TypeError }

// Type returns PUBLISH.
func (*Publish) Type() MessageType { return TypePublish }

// Type returns PUBLISHED.
func (*Published) Type() MessageType { return TypePublished }

// Type returns SUBSCRIBE.
func (*Subscribe) Type() MessageType { return TypeSubscribe }

// Type returns SUBSCRIBED.
func (*Subscribed) Type() MessageType { return TypeSubscribed }

// Type returns UNSUBSCRIBE.
func (*Unsubscribe) Type() MessageType { return TypeUnsubscribe }

// Type returns UNSUBSCRIBED.
func (*Unsubscribed) Type() MessageType { return TypeUnsubscribed }

// Type returns EVENT.
func (*Event) Type() MessageType { return TypeEvent }

// Type returns CALL.
func (*Call) Type() MessageType { return TypeCall }

// Type returns CANCEL.
func (*Cancel) Type() MessageType { return TypeCancel }

// Type returns RESULT.
func (*Result) Type() MessageType { return TypeResult }

// Type returns REGISTER.
func (*Register) Type() MessageType { return TypeRegister }

// Type returns REGISTERED.
func (*Registered) Type() MessageType { return TypeRegistered }

// Type returns UNREGISTER.
func (*Unregister) Type() MessageType { return TypeUnregister }

// Type returns UNREGISTERED.
func (*Unregistered) Type() MessageType { return TypeUnregistered }

// Type returns INVOCATION.
func (*Invocation) Type() MessageType { return TypeInvocation }

// Type returns INTERRUPT.
func (*Interrupt) Type() MessageType { return TypeInterrupt }

// Type returns YIELD.
func (*Yield) Type() MessageType { return TypeYield }
