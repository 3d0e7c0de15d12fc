package serialize

import (
	"encoding/binary"
	"fmt"
	"slices"

	"gantry/wamp"
)

// Append appends message m in format f to dst. A raw payload in f is copied, one
// in another format transcoded, Go values are encoded as by AppendValue. Empty
// arguments are left out (see Payload.Empty). A *wamp.Shared is encoded as its
// Msg.
//
// On error, a *wamp.PayloadError, dst is returned unchanged. Append is safe for
// concurrent use, as are all functions of the package.
func Append(dst []byte, f wamp.Format, m wamp.Message) ([]byte, error) {
	if err := known(f); err != nil {
		return dst, err
	}
	if shared, ok := m.(*wamp.Shared); ok {
		m = shared.Msg
	}
	s := getScratch()
	defer s.free()
	e := messageWriter{writer: writer{format: f, b: dst}, scratch: s}
	e.message(m)
	if e.err != nil {
		return dst, payloadError(f, e.err)
	}
	e.close(kindList)
	return e.finish(), nil
}

// messageWriter writes the fields of a message and keeps the first error.
type messageWriter struct {
	writer
	scratch *scratch
	err     error
}

func (w *messageWriter) message(m wamp.Message) {
	switch m := m.(type) {
	case *wamp.Publish:
		w.begin(m, 4, &m.Payload)
		w.id(m.Request)
		w.publishOptions(&m.Options)
		w.uri(m.Topic)
		w.payload(&m.Payload)
	case *wamp.Event:
		w.begin(m, 4, &m.Payload)
		w.id(m.Subscription)
		w.id(m.Publication)
		w.eventDetails(&m.Details)
		w.payload(&m.Payload)
	case *wamp.Call:
		w.begin(m, 4, &m.Payload)
		w.id(m.Request)
		w.callOptions(&m.Options)
		w.uri(m.Procedure)
		w.payload(&m.Payload)
	case *wamp.Result:
		w.begin(m, 3, &m.Payload)
		w.id(m.Request)
		w.resultDetails(&m.Details)
		w.payload(&m.Payload)
	case *wamp.Invocation:
		w.begin(m, 4, &m.Payload)
		w.id(m.Request)
		w.id(m.Registration)
		w.invocationDetails(&m.Details)
		w.payload(&m.Payload)
	case *wamp.Yield:
		w.begin(m, 3, &m.Payload)
		w.id(m.Request)
		w.yieldOptions(&m.Options)
		w.payload(&m.Payload)
	case *wamp.ErrorReply:
		w.begin(m, 5, &m.Payload)
		w.uint(uint64(m.RequestType))
		w.id(m.Request)
		w.dict(m.Details)
		w.uri(m.URI)
		w.payload(&m.Payload)
	default:
		if !w.sessionMessage(m) && !w.requestMessage(m) {
			w.err = fault(fmt.Sprintf("%T is no message", m))
		}
	}
}

// sessionMessage writes the messages that open and end sessions.
func (w *messageWriter) sessionMessage(m wamp.Message) bool {
	switch m := m.(type) {
	case *wamp.Hello:
		w.begin(m, 3, nil)
		w.uri(m.Realm)
		w.dict(m.Details)
	case *wamp.Welcome:
		w.begin(m, 3, nil)
		w.id(m.Session)
		w.dict(m.Details)
	case *wamp.Abort:
		w.begin(m, 3, &m.Payload)
		w.dict(m.Details)
		w.uri(m.Reason)
		w.payload(&m.Payload)
	case *wamp.Challenge:
		w.begin(m, 3, nil)
		w.str(m.AuthMethod)
		w.dict(m.Extra)
	case *wamp.Authenticate:
		w.begin(m, 3, nil)
		w.str(m.Signature)
		w.dict(m.Extra)
	case *wamp.Goodbye:
		w.begin(m, 3, nil)
		w.dict(m.Details)
		w.uri(m.Reason)
	default:
		return false
	}
	return true
}

// requestMessage writes the messages without a payload that belong to a request.
func (w *messageWriter) requestMessage(m wamp.Message) bool {
	switch m := m.(type) {
	case *wamp.Published:
		w.ids(m, m.Request, m.Publication)
	case *wamp.Subscribe:
		w.begin(m, 4, nil)
		w.id(m.Request)
		w.subscribeOptions(&m.Options)
		w.uri(m.Topic)
	case *wamp.Subscribed:
		w.ids(m, m.Request, m.Subscription)
	case *wamp.Unsubscribe:
		w.ids(m, m.Request, m.Subscription)
	case *wamp.Unsubscribed:
		w.revocation(m, m.Request, "subscription", m.Subscription, m.Reason)
	case *wamp.Cancel:
		w.begin(m, 3, nil)
		w.id(m.Request)
		w.cancelOptions(m.Mode, "")
	case *wamp.Register:
		w.begin(m, 4, nil)
		w.id(m.Request)
		w.registerOptions(&m.Options)
		w.uri(m.Procedure)
	case *wamp.Registered:
		w.ids(m, m.Request, m.Registration)
	case *wamp.Unregister:
		w.ids(m, m.Request, m.Registration)
	case *wamp.Unregistered:
		w.revocation(m, m.Request, "registration", m.Registration, m.Reason)
	case *wamp.Interrupt:
		w.begin(m, 3, nil)
		w.id(m.Request)
		w.cancelOptions(m.Mode, m.Reason)
	default:
		return false
	}
	return true
}

// begin writes the list's head and the type; n counts the fields up to the
// payload.
func (w *messageWriter) begin(m wamp.Message, n uint64, p *wamp.Payload) {
	if p != nil {
		n += payloadFields(p)
	}
	w.open(kindList, n)
	w.uint(uint64(m.Type()))
}

func (w *messageWriter) ids(m wamp.Message, a, b wamp.ID) {
	w.begin(m, 3, nil)
	w.id(a)
	w.id(b)
}

func (w *messageWriter) id(id wamp.ID) { w.uint(uint64(id)) }

func (w *messageWriter) uri(u wamp.URI) { w.str(string(u)) }

func (w *messageWriter) str(s string) { w.note(w.goText(s)) }

func (w *messageWriter) note(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *messageWriter) dict(d wamp.Dict) {
	w.note(w.scratch.encodeDict(&w.writer, d, DefaultDepth))
}

// payloadFields returns how many fields p takes: kwargs need args before them.
func payloadFields(p *wamp.Payload) uint64 {
	args, kwargs := p.Raw()
	list, dict := p.GoValues()
	switch {
	case kwargs != nil || len(dict) > 0:
		return 2
	case args != nil || len(list) > 0:
		return 1
	}
	return 0
}

func (w *messageWriter) payload(p *wamp.Payload) {
	n := payloadFields(p)
	if n == 0 {
		return
	}
	list, dict := p.GoValues()
	args, kwargs := p.Raw()
	switch {
	case args != nil:
		w.rawValue(args, p.Format())
	default:
		w.note(w.scratch.encodeList(&w.writer, list, DefaultDepth))
	}
	switch {
	case n < 2:
	case kwargs != nil:
		w.rawValue(kwargs, p.Format())
	default:
		w.note(w.scratch.encodeDict(&w.writer, dict, DefaultDepth))
	}
}

// rawValue appends a proven value of format from.
func (w *messageWriter) rawValue(v []byte, from wamp.Format) {
	if from == w.format {
		w.raw(v)
		return
	}
	w.note(w.scratch.transcode(&w.writer, v, from, maxDepth))
}

// attributeWriter writes options or details: a dict whose size is known at its
// end only, and small.
type attributeWriter struct {
	w    *messageWriter
	head int // where the head is
	n    int
}

func (w *messageWriter) attributes() attributeWriter {
	a := attributeWriter{w: w, head: len(w.b)}
	w.open(kindDict, 0)
	return a
}

func (a *attributeWriter) key(k string) {
	a.n++
	a.w.key(k)
}

// flag writes a boolean that is left out when false.
func (a *attributeWriter) flag(k string, v bool) {
	if v {
		a.key(k)
		a.w.bool(true)
	}
}

func (a *attributeWriter) text(k, v string) {
	if v != "" {
		a.key(k)
		a.w.str(v)
	}
}

func (a *attributeWriter) uint(k string, v uint64) {
	if v != 0 {
		a.key(k)
		a.w.uint(v)
	}
}

func (a *attributeWriter) trustlevel(v *uint32) {
	if v != nil {
		a.key("trustlevel")
		a.w.uint(uint64(*v))
	}
}

func (a *attributeWriter) passthru(p *wamp.Passthru) {
	if p == nil {
		return
	}
	a.text("ppt_scheme", p.Scheme)
	a.text("ppt_serializer", p.Serializer)
	a.text("ppt_cipher", p.Cipher)
	a.text("ppt_keyid", p.KeyID)
}

func (a *attributeWriter) forwardFor(all []wamp.Forwarded) {
	if len(all) == 0 {
		return
	}
	a.key("forward_for")
	a.w.open(kindList, uint64(len(all)))
	for _, f := range all {
		a.w.open(kindDict, 3)
		a.w.key("session")
		a.w.id(f.Session)
		a.w.key("authid")
		a.w.str(f.AuthID)
		a.w.key("authrole")
		a.w.str(f.AuthRole)
		a.w.close(kindDict)
	}
	a.w.close(kindList)
}

func (a *attributeWriter) ids(k string, ids []wamp.ID) {
	if ids == nil {
		return
	}
	a.key(k)
	a.w.open(kindList, uint64(len(ids)))
	for _, id := range ids {
		a.w.id(id)
	}
	a.w.close(kindList)
}

func (a *attributeWriter) texts(k string, texts []string) {
	if texts != nil {
		a.key(k)
		a.w.note(a.w.scratch.encodeTexts(&a.w.writer, texts))
	}
}

// close ends the dict and puts its size into the head.
func (a *attributeWriter) close() {
	w := a.w
	switch {
	case w.format == wamp.JSON:
		w.writer.close(kindDict)
	case w.format == wamp.MsgPack && a.n > 15:
		w.b = slices.Insert(w.b, a.head+1, 0, 0)
		w.b[a.head] = 0xde
		binary.BigEndian.PutUint16(w.b[a.head+1:], uint16(a.n))
	default: // up to 15 or 23 the head is one byte
		w.b[a.head] += byte(a.n)
	}
}

func (w *messageWriter) publishOptions(o *wamp.PublishOptions) {
	a := w.attributes()
	a.flag("acknowledge", o.Acknowledge)
	if o.IncludeMe {
		a.key("exclude_me")
		w.bool(false)
	}
	a.flag("disclose_me", o.DiscloseMe)
	a.flag("retain", o.Retain)
	a.flag("_unretain", o.Unretain)
	a.text("rkey", o.RKey)
	if f := o.Filter; f != nil {
		a.ids("exclude", f.Exclude)
		a.ids("eligible", f.Eligible)
		a.texts("exclude_authid", f.ExcludeAuthID)
		a.texts("eligible_authid", f.EligibleAuthID)
		a.texts("exclude_authrole", f.ExcludeAuthRole)
		a.texts("eligible_authrole", f.EligibleAuthRole)
	}
	a.passthru(o.Passthru)
	if o.Once != nil {
		a.key("_once")
		n := uint64(3)
		if o.Once.Again {
			n = 4
		}
		w.open(kindList, n)
		w.str(o.Once.Stream)
		w.uint(o.Once.Epoch)
		w.uint(o.Once.Seq)
		if o.Once.Again {
			w.bool(true)
		}
		w.writer.close(kindList)
	}
	a.close()
}

func (w *messageWriter) subscribeOptions(o *wamp.SubscribeOptions) {
	a := w.attributes()
	if o.Match != wamp.MatchExact {
		a.text("match", o.Match.String())
	}
	a.flag("get_retained", o.GetRetained)
	a.text("nkey", o.NKey)
	a.text("_overflow", o.Overflow.String())
	a.close()
}

func (w *messageWriter) eventDetails(o *wamp.EventDetails) {
	a := w.attributes()
	a.uint("publisher", uint64(o.Publisher))
	a.text("publisher_authid", o.PublisherAuthID)
	a.text("publisher_authrole", o.PublisherAuthRole)
	a.text("topic", string(o.Topic))
	a.flag("retained", o.Retained)
	a.trustlevel(o.Trustlevel)
	a.passthru(o.Passthru)
	a.close()
}

func (w *messageWriter) callOptions(o *wamp.CallOptions) {
	a := w.attributes()
	a.uint("timeout", o.Timeout)
	a.flag("receive_progress", o.ReceiveProgress)
	a.flag("progress", o.Progress)
	a.flag("disclose_me", o.DiscloseMe)
	a.text("rkey", o.RKey)
	a.text("runmode", o.RunMode)
	a.passthru(o.Passthru)
	a.forwardFor(o.ForwardFor)
	a.close()
}

func (w *messageWriter) resultDetails(o *wamp.ResultDetails) {
	a := w.attributes()
	a.flag("progress", o.Progress)
	a.uint("callee", uint64(o.Callee))
	a.text("callee_authid", o.CalleeAuthID)
	a.text("callee_authrole", o.CalleeAuthRole)
	a.passthru(o.Passthru)
	a.close()
}

func (w *messageWriter) registerOptions(o *wamp.RegisterOptions) {
	a := w.attributes()
	if o.Match != wamp.MatchExact {
		a.text("match", o.Match.String())
	}
	if o.Invoke != wamp.InvokeSingle {
		a.text("invoke", o.Invoke.String())
	}
	a.uint("concurrency", uint64(o.Concurrency))
	a.flag("disclose_caller", o.DiscloseCaller)
	a.flag("force_reregister", o.ForceReregister)
	a.flag("forward_timeout", o.ForwardTimeout)
	a.close()
}

func (w *messageWriter) invocationDetails(o *wamp.InvocationDetails) {
	a := w.attributes()
	a.uint("caller", uint64(o.Caller))
	a.text("caller_authid", o.CallerAuthID)
	a.text("caller_authrole", o.CallerAuthRole)
	a.forwardFor(o.ForwardFor)
	a.text("procedure", string(o.Procedure))
	a.uint("timeout", o.Timeout)
	a.flag("receive_progress", o.ReceiveProgress)
	a.flag("progress", o.Progress)
	a.trustlevel(o.Trustlevel)
	a.passthru(o.Passthru)
	a.close()
}

func (w *messageWriter) yieldOptions(o *wamp.YieldOptions) {
	a := w.attributes()
	a.flag("progress", o.Progress)
	a.passthru(o.Passthru)
	a.close()
}

// cancelOptions writes the mode always: routers do not agree on the default.
func (w *messageWriter) cancelOptions(mode wamp.CancelMode, reason wamp.URI) {
	a := w.attributes()
	a.text("mode", mode.String())
	a.text("reason", string(reason))
	a.close()
}

// revocation writes UNSUBSCRIBED or UNREGISTERED, with details only where they
// tell of a revocation.
func (w *messageWriter) revocation(m wamp.Message, request wamp.ID, key string, id wamp.ID, reason wamp.URI) {
	if request != 0 || id == 0 {
		w.begin(m, 2, nil)
		w.id(request)
		return
	}
	w.begin(m, 3, nil)
	w.id(0)
	a := w.attributes()
	a.uint(key, uint64(id))
	a.text("reason", string(reason))
	a.close()
}
