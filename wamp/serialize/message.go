package serialize

import (
	"strconv"

	"gantry/wamp"
)

// fieldNames are the names by which the specification calls the fields behind
// the type, for error messages.
var fieldNames = map[wamp.MessageType][]string{
	wamp.TypeHello:        {"Realm", "Details"},
	wamp.TypeWelcome:      {"Session", "Details"},
	wamp.TypeAbort:        {"Details", "Reason", "Arguments", "ArgumentsKw"},
	wamp.TypeChallenge:    {"AuthMethod", "Extra"},
	wamp.TypeAuthenticate: {"Signature", "Extra"},
	wamp.TypeGoodbye:      {"Details", "Reason"},
	wamp.TypeError:        {"REQUEST.Type", "REQUEST.Request", "Details", "Error", "Arguments", "ArgumentsKw"},
	wamp.TypePublish:      {"Request", "Options", "Topic", "Arguments", "ArgumentsKw"},
	wamp.TypePublished:    {"PUBLISH.Request", "Publication"},
	wamp.TypeSubscribe:    {"Request", "Options", "Topic"},
	wamp.TypeSubscribed:   {"SUBSCRIBE.Request", "Subscription"},
	wamp.TypeUnsubscribe:  {"Request", "SUBSCRIBED.Subscription"},
	wamp.TypeUnsubscribed: {"UNSUBSCRIBE.Request", "Details"},
	wamp.TypeEvent:        {"SUBSCRIBED.Subscription", "PUBLISHED.Publication", "Details", "Arguments", "ArgumentsKw"},
	wamp.TypeCall:         {"Request", "Options", "Procedure", "Arguments", "ArgumentsKw"},
	wamp.TypeCancel:       {"CALL.Request", "Options"},
	wamp.TypeResult:       {"CALL.Request", "Details", "Arguments", "ArgumentsKw"},
	wamp.TypeRegister:     {"Request", "Options", "Procedure"},
	wamp.TypeRegistered:   {"REGISTER.Request", "Registration"},
	wamp.TypeUnregister:   {"Request", "REGISTERED.Registration"},
	wamp.TypeUnregistered: {"UNREGISTER.Request", "Details"},
	wamp.TypeInvocation:   {"Request", "REGISTERED.Registration", "Details", "Arguments", "ArgumentsKw"},
	wamp.TypeInterrupt:    {"INVOCATION.Request", "Options"},
	wamp.TypeYield:        {"INVOCATION.Request", "Options", "Arguments", "ArgumentsKw"},
}

// name returns what error messages call field i of the message.
func (d *Decoder) name(i int) string {
	return d.typ.String() + "." + fieldNames[d.typ][i-1]
}

// message decodes the fields that split has found.
func (d *Decoder) message() (wamp.Message, error) {
	switch d.typ {
	case wamp.TypePublish:
		return d.decodePublish()
	case wamp.TypeEvent:
		return d.decodeEvent()
	case wamp.TypeCall:
		return d.decodeCall()
	case wamp.TypeResult:
		return d.decodeResult()
	case wamp.TypeInvocation:
		return d.decodeInvocation()
	case wamp.TypeYield:
		return d.decodeYield()
	case wamp.TypeError:
		return d.decodeError()
	case wamp.TypeHello, wamp.TypeWelcome, wamp.TypeAbort,
		wamp.TypeChallenge, wamp.TypeAuthenticate, wamp.TypeGoodbye:
		return d.sessionMessage()
	case wamp.TypeSubscribe:
		return d.decodeSubscribe()
	case wamp.TypeRegister:
		return d.decodeRegister()
	case wamp.TypeUnsubscribed:
		return d.decodeUnsubscribed()
	case wamp.TypeUnregistered:
		return d.decodeUnregistered()
	case wamp.TypeCancel:
		return d.decodeCancel()
	case wamp.TypeInterrupt:
		return d.decodeInterrupt()
	case wamp.TypePublished, wamp.TypeSubscribed, wamp.TypeUnsubscribe,
		wamp.TypeRegistered, wamp.TypeUnregister:
		return d.twoIDs()
	}
	return nil, violation("unknown " + d.typ.String())
}

// fieldReader reads the fields of a message one after the other and keeps the first
// error, so that the decoders below read as the message's definition does.
type fieldReader struct {
	d   *Decoder
	i   int // field read last
	err error
}

// begin checks how many fields there are, the type included.
func (d *Decoder) begin(least, most int) *fieldReader {
	r := &d.reader
	*r = fieldReader{d: d}
	if d.n < least || d.n > most {
		r.err = violation(d.typ.String() + " has " + strconv.Itoa(d.n) + " fields")
	}
	return r
}

// next returns the next field, nil after an error.
func (r *fieldReader) next() []byte {
	if r.err != nil {
		return nil
	}
	r.i++
	return r.d.fields[r.i]
}

func (r *fieldReader) fail(what string) {
	r.err = violation(r.d.name(r.i) + " is not " + what)
}

const (
	wantID   = "an integer from 1 to 2^53"
	wantText = "text"
	wantDict = "a dict"
	wantList = "a list"
	wantBool = "a boolean"
	wantUint = "a non-negative integer"
)

// id reads an ID; zero is allowed where the specification has it.
func (r *fieldReader) id(zero bool) wamp.ID {
	v := r.next()
	if v == nil {
		return 0
	}
	id, ok := r.d.id(v)
	if !ok || id == 0 && !zero {
		r.fail(wantID)
		return 0
	}
	return id
}

func (r *fieldReader) text() string {
	v := r.next()
	if v == nil {
		return ""
	}
	s, ok := r.d.text(v)
	if !ok {
		r.fail(wantText)
	}
	return s
}

func (r *fieldReader) uri() wamp.URI { return wamp.URI(r.text()) }

// dict decodes a whole dict, which must not have duplicate keys at any depth.
func (r *fieldReader) dict() wamp.Dict {
	v := r.next()
	if v == nil {
		return nil
	}
	c, ok := r.d.cursor(v, kindDict)
	if !ok {
		r.fail(wantDict)
	}
	if !ok || !c.more() {
		return nil
	}
	value, err := parse(r.d.format, v, maxDepth, r.d.lim.Elements, true)
	if err != nil {
		r.err = violation(r.d.name(r.i) + ": " + err.Error())
		return nil
	}
	return value.(wamp.Dict)
}

// dictOrNull is dict for what clients leave out by writing null.
func (r *fieldReader) dictOrNull() wamp.Dict {
	if r.err == nil && r.d.is(r.d.fields[r.i+1], kindNull) {
		r.i++
		return nil
	}
	return r.dict()
}

// payload reads the arguments, the last fields of a message. Empty ones are
// dropped, so that they are not sent on (BP "Empty Arguments and Keyword
// Arguments").
func (r *fieldReader) payload() wamp.Payload {
	var args, kwargs []byte
	if r.err == nil && r.i+1 < r.d.n {
		if args = r.next(); !r.d.is(args, kindList) {
			r.fail(wantList)
		}
	}
	if r.err == nil && r.i+1 < r.d.n {
		if kwargs = r.next(); !r.d.is(kwargs, kindDict) {
			r.fail(wantDict)
		}
	}
	if r.err != nil || args == nil {
		return wamp.Payload{}
	}
	if kwargs != nil && r.d.empty(kwargs, kindDict) {
		kwargs = nil
	}
	if kwargs == nil && r.d.empty(args, kindList) {
		return wamp.Payload{}
	}
	return wamp.RawPayload(r.d.format, args, kwargs)
}

// empty reports whether v, a container of kind k, has no items.
func (d *Decoder) empty(v []byte, k kind) bool {
	c, ok := d.cursor(v, k)
	return ok && !c.more()
}

func (d *Decoder) sessionMessage() (wamp.Message, error) {
	least, most := 3, 3
	if d.typ == wamp.TypeAbort {
		most = 5
	}
	r := d.begin(least, most)
	var m wamp.Message
	switch d.typ {
	case wamp.TypeHello:
		d.hello = wamp.Hello{Realm: r.uri(), Details: r.dict()}
		m = &d.hello
	case wamp.TypeWelcome:
		d.welcome = wamp.Welcome{Session: r.id(false), Details: r.dict()}
		m = &d.welcome
	case wamp.TypeAbort:
		d.abort = wamp.Abort{Details: r.dict(), Reason: r.uri(), Payload: r.payload()}
		m = &d.abort
	case wamp.TypeChallenge:
		d.challenge = wamp.Challenge{AuthMethod: r.text(), Extra: r.dict()}
		m = &d.challenge
	case wamp.TypeAuthenticate:
		d.authenticate = wamp.Authenticate{Signature: r.text(), Extra: r.dictOrNull()}
		m = &d.authenticate
	default:
		d.goodbye = wamp.Goodbye{Details: r.dict(), Reason: r.uri()}
		m = &d.goodbye
	}
	return r.done(m)
}

// done returns m unless there was an error.
func (r *fieldReader) done(m wamp.Message) (wamp.Message, error) {
	if r.err != nil {
		return nil, r.err
	}
	return m, nil
}

// twoIDs decodes the messages that consist of two IDs.
func (d *Decoder) twoIDs() (wamp.Message, error) {
	r := d.begin(3, 3)
	request, id := r.id(false), r.id(false)
	var m wamp.Message
	switch d.typ {
	case wamp.TypePublished:
		d.published = wamp.Published{Request: request, Publication: id}
		m = &d.published
	case wamp.TypeSubscribed:
		d.subscribed = wamp.Subscribed{Request: request, Subscription: id}
		m = &d.subscribed
	case wamp.TypeUnsubscribe:
		d.unsubscribe = wamp.Unsubscribe{Request: request, Subscription: id}
		m = &d.unsubscribe
	case wamp.TypeRegistered:
		d.registered = wamp.Registered{Request: request, Registration: id}
		m = &d.registered
	default:
		d.unregister = wamp.Unregister{Request: request, Registration: id}
		m = &d.unregister
	}
	return r.done(m)
}

func (d *Decoder) decodeError() (wamp.Message, error) {
	r := d.begin(5, 7)
	m := &d.errorReply
	*m = wamp.ErrorReply{
		RequestType: r.messageType(), Request: r.id(false),
		Details: r.dict(), URI: r.uri(), Payload: r.payload(),
	}
	return r.done(m)
}

func (r *fieldReader) messageType() wamp.MessageType {
	v := r.next()
	if v == nil {
		return 0
	}
	u, ok := r.d.uint(v)
	if !ok || u == 0 || u > 1<<16-1 {
		r.fail("a message type number")
	}
	return wamp.MessageType(u)
}

func (d *Decoder) decodePublish() (wamp.Message, error) {
	r := d.begin(4, 6)
	m := &d.publish
	*m = wamp.Publish{Request: r.id(false)}
	r.publishOptions(&m.Options)
	m.Topic, m.Payload = r.uri(), r.payload()
	return r.done(m)
}

func (d *Decoder) decodeEvent() (wamp.Message, error) {
	r := d.begin(4, 6)
	m := &d.event
	*m = wamp.Event{Subscription: r.id(false), Publication: r.id(false)}
	r.eventDetails(&m.Details)
	m.Payload = r.payload()
	return r.done(m)
}

func (d *Decoder) decodeCall() (wamp.Message, error) {
	r := d.begin(4, 6)
	m := &d.call
	*m = wamp.Call{Request: r.id(false)}
	r.callOptions(&m.Options)
	m.Procedure, m.Payload = r.uri(), r.payload()
	return r.done(m)
}

func (d *Decoder) decodeResult() (wamp.Message, error) {
	r := d.begin(3, 5)
	m := &d.result
	*m = wamp.Result{Request: r.id(false)}
	r.resultDetails(&m.Details)
	m.Payload = r.payload()
	return r.done(m)
}

func (d *Decoder) decodeInvocation() (wamp.Message, error) {
	r := d.begin(4, 6)
	m := &d.invocation
	*m = wamp.Invocation{Request: r.id(false), Registration: r.id(false)}
	r.invocationDetails(&m.Details)
	m.Payload = r.payload()
	return r.done(m)
}

func (d *Decoder) decodeYield() (wamp.Message, error) {
	r := d.begin(3, 5)
	m := &d.yield
	*m = wamp.Yield{Request: r.id(false)}
	r.yieldOptions(&m.Options)
	m.Payload = r.payload()
	return r.done(m)
}

func (d *Decoder) decodeSubscribe() (wamp.Message, error) {
	r := d.begin(4, 4)
	m := &d.subscribe
	*m = wamp.Subscribe{Request: r.id(false)}
	r.subscribeOptions(&m.Options)
	m.Topic = r.uri()
	return r.done(m)
}

func (d *Decoder) decodeRegister() (wamp.Message, error) {
	r := d.begin(4, 4)
	m := &d.register
	*m = wamp.Register{Request: r.id(false)}
	r.registerOptions(&m.Options)
	m.Procedure = r.uri()
	return r.done(m)
}

func (d *Decoder) decodeUnsubscribed() (wamp.Message, error) {
	r := d.begin(2, 3)
	m := &d.unsubscribed
	*m = wamp.Unsubscribed{Request: r.id(true)}
	r.revocation(m.Request, "subscription", &m.Subscription, &m.Reason)
	return r.done(m)
}

func (d *Decoder) decodeUnregistered() (wamp.Message, error) {
	r := d.begin(2, 3)
	m := &d.unregistered
	*m = wamp.Unregistered{Request: r.id(true)}
	r.revocation(m.Request, "registration", &m.Registration, &m.Reason)
	return r.done(m)
}

func (d *Decoder) decodeCancel() (wamp.Message, error) {
	r := d.begin(3, 3)
	m := &d.cancel
	*m = wamp.Cancel{Request: r.id(false)}
	r.cancelOptions(&m.Mode, nil)
	return r.done(m)
}

func (d *Decoder) decodeInterrupt() (wamp.Message, error) {
	r := d.begin(3, 3)
	m := &d.interrupt
	*m = wamp.Interrupt{Request: r.id(false)}
	r.cancelOptions(&m.Mode, &m.Reason)
	return r.done(m)
}
