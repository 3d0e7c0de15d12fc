package serialize

import (
	"math"
	"slices"
	"strings"

	"gantry/wamp"
)

// maxAttributes is the most attributes, known or not, that options or details
// read into a struct may have. It keeps the search for duplicates cheap.
const maxAttributes = 128

// cursor goes through the items of a proven container, value by value.
type cursor struct {
	d *Decoder
	b []byte // exactly the container
	i int
}

// cursor returns a cursor before the first item of v, if v is of kind k.
func (d *Decoder) cursor(v []byte, k kind) (cursor, bool) {
	got, _, i := d.peek(v)
	return cursor{d: d, b: v, i: i}, got == k
}

// more moves to the next item and reports whether there is one.
func (c *cursor) more() bool {
	switch c.d.format {
	case wamp.JSON:
		if c.i = skipSpace(c.b, c.i); c.b[c.i] == ',' {
			c.i = skipSpace(c.b, c.i+1)
		}
		return c.b[c.i] != ']' && c.b[c.i] != '}'
	case wamp.CBOR:
		return c.i < len(c.b) && c.b[c.i] != 0xff // break
	}
	return c.i < len(c.b)
}

// key reads the key that the cursor is at.
func (c *cursor) key() string {
	r := &c.d.read
	r.b, r.i = c.b, c.i
	t, _ := r.next(true) // no error: a key is never base64 nor a number
	if c.i = r.i; c.d.format == wamp.JSON {
		c.i = skipSpace(c.b, c.i) + 1 // the colon
		c.i = skipSpace(c.b, c.i)
	}
	return t.text()
}

// value returns the value that the cursor is at and moves behind it.
func (c *cursor) value() []byte {
	start := c.i
	c.i, _ = c.d.walk.value(c.d.format, c.b, start) // proven: no error
	return c.b[start:c.i:c.i]
}

// attributes goes through options or details.
type attributes struct {
	r   *fieldReader
	c   cursor
	key string
	val []byte
}

// attributes begins the next field of the message, which must be a dict.
func (r *fieldReader) attributes() attributes {
	a := attributes{r: r}
	v := r.next()
	if v == nil {
		return a
	}
	var ok bool
	if a.c, ok = r.d.cursor(v, kindDict); !ok {
		r.fail(wantDict)
	}
	r.d.keys = r.d.keys[:0]
	return a
}

// next moves to the next attribute that is not null, which stands for absent.
func (a *attributes) next() bool {
	d := a.r.d
	for a.r.err == nil && a.c.more() {
		a.key = a.c.key()
		a.val = a.c.value()
		if len(d.keys) == maxAttributes {
			a.r.fail("small: too many attributes")
			return false
		}
		if slices.Contains(d.keys, a.key) {
			a.fail("there once only")
			return false
		}
		d.keys = append(d.keys, a.key)
		if !d.is(a.val, kindNull) {
			return true
		}
	}
	return false
}

// fail notes that the attribute is not what it should be.
func (a *attributes) fail(what string) {
	r := a.r
	r.err = violation(r.d.name(r.i) + "." + strings.ToValidUTF8(a.key[:min(len(a.key), 64)], "") + " is not " + what)
}

func (a *attributes) bool(into *bool) {
	k, _, _ := a.r.d.peek(a.val)
	if k != kindTrue && k != kindFalse {
		a.fail(wantBool)
		return
	}
	*into = k == kindTrue
}

func (a *attributes) text() string {
	s, ok := a.r.d.text(a.val)
	if !ok {
		a.fail(wantText)
	}
	return s
}

func (a *attributes) uri() wamp.URI { return wamp.URI(a.text()) }

// uint reads an integer from 0 to most.
func (a *attributes) uint(most uint64) uint64 {
	u, ok := a.r.d.uint(a.val)
	if !ok || u > most {
		a.fail(wantUint)
		return 0
	}
	return u
}

func (a *attributes) id() wamp.ID {
	if id, ok := a.r.d.id(a.val); ok && id != 0 {
		return id
	}
	a.fail(wantID)
	return 0
}

func (a *attributes) trustlevel() *uint32 {
	u := uint32(a.uint(math.MaxUint32))
	return &u
}

func (a *attributes) match() wamp.Match {
	m, ok := wamp.ParseMatch(a.text())
	if !ok {
		return wamp.MatchInvalid
	}
	return m
}

func (a *attributes) invoke() wamp.Invoke {
	v, ok := wamp.ParseInvoke(a.text())
	if !ok {
		return wamp.InvokeInvalid
	}
	return v
}

func (a *attributes) cancelMode() wamp.CancelMode {
	m, ok := wamp.ParseCancelMode(a.text())
	if !ok {
		return wamp.CancelInvalid
	}
	return m
}

// passthru reads an attribute of payload passthru mode; others are not known and
// ignored.
func (a *attributes) passthru(into **wamp.Passthru) {
	d := a.r.d
	var field *string
	switch a.key {
	case "ppt_scheme":
		field = &d.ppt.Scheme
	case "ppt_serializer":
		field = &d.ppt.Serializer
	case "ppt_cipher":
		field = &d.ppt.Cipher
	case "ppt_keyid":
		field = &d.ppt.KeyID
	default:
		return
	}
	if *into == nil {
		d.ppt = wamp.Passthru{}
		*into = &d.ppt
	}
	*field = a.text()
}

// list calls item for each item of the attribute, which must be a list, until
// item returns false.
func (a *attributes) list(what string, item func(v []byte) bool) {
	c, ok := a.r.d.cursor(a.val, kindList)
	for ok && c.more() {
		ok = item(c.value())
	}
	if !ok {
		a.fail(what)
	}
}

// ids reads a list of IDs. It is never nil: present and empty is not absent.
func (a *attributes) ids() []wamp.ID {
	ids := []wamp.ID{}
	a.list("a list of IDs", func(v []byte) bool {
		id, ok := a.r.d.id(v)
		ids = append(ids, id)
		return ok && id != 0
	})
	return ids
}

// texts reads a list of texts, which borrow nothing. It is never nil.
func (a *attributes) texts() []string {
	texts := []string{}
	a.list("a list of texts", func(v []byte) bool {
		s, ok := a.r.d.text(v)
		texts = append(texts, strings.Clone(s))
		return ok
	})
	return texts
}

// once reads [stream, epoch, seq] or [stream, epoch, seq, again].
func (a *attributes) once() *wamp.Once {
	const want = "[text, integer, integer] or [text, integer, integer, boolean]"
	once, n := new(wamp.Once), 0
	a.list(want, func(v []byte) bool {
		ok := n < 4
		switch n {
		case 0:
			once.Stream, ok = a.r.d.text(v)
		case 1:
			once.Epoch, ok = a.r.d.uint(v)
		case 2:
			once.Seq, ok = a.r.d.uint(v)
		case 3:
			k, _, _ := a.r.d.peek(v)
			once.Again, ok = k == kindTrue, k == kindTrue || k == kindFalse
		}
		n++
		return ok
	})
	if a.r.err == nil && n < 3 {
		a.fail(want)
	}
	return once
}

// forwardFor reads a list of callers, whose texts borrow nothing.
func (a *attributes) forwardFor() (all []wamp.Forwarded) {
	a.list("a list of up to 16 dicts with session, authid and authrole", func(v []byte) bool {
		f, ok := a.r.d.forwarded(v)
		all = append(all, f)
		return ok && len(all) <= wamp.MaxForwarded
	})
	return all
}

func (d *Decoder) forwarded(v []byte) (f wamp.Forwarded, ok bool) {
	c, ok := d.cursor(v, kindDict)
	for ok && c.more() {
		key, val := c.key(), c.value()
		switch {
		case key == "session":
			f.Session, ok = d.id(val)
		case d.is(val, kindNull):
		case key == "authid":
			f.AuthID, ok = d.text(val)
		case key == "authrole":
			f.AuthRole, ok = d.text(val)
		}
	}
	f.AuthID, f.AuthRole = strings.Clone(f.AuthID), strings.Clone(f.AuthRole)
	return f, ok && f.Session != 0
}

func (r *fieldReader) publishOptions(o *wamp.PublishOptions) {
	for a := r.attributes(); a.next(); {
		switch a.key {
		case "acknowledge":
			a.bool(&o.Acknowledge)
		case "exclude_me":
			a.bool(&o.IncludeMe)
			o.IncludeMe = !o.IncludeMe
		case "disclose_me":
			a.bool(&o.DiscloseMe)
		case "retain":
			a.bool(&o.Retain)
		case "_unretain":
			a.bool(&o.Unretain)
		case "rkey":
			o.RKey = a.text()
		case "_once":
			o.Once = a.once()
		default:
			if !a.filter(&o.Filter) {
				a.passthru(&o.Passthru)
			}
		}
	}
}

// filter reads an attribute that restricts the receivers, if this is one.
func (a *attributes) filter(into **wamp.PublishFilter) bool {
	switch a.key {
	case "exclude", "eligible", "exclude_authid", "eligible_authid", "exclude_authrole", "eligible_authrole":
	default:
		return false
	}
	if *into == nil {
		*into = new(wamp.PublishFilter)
	}
	f := *into
	switch a.key {
	case "exclude":
		f.Exclude = a.ids()
	case "eligible":
		f.Eligible = a.ids()
	case "exclude_authid":
		f.ExcludeAuthID = a.texts()
	case "eligible_authid":
		f.EligibleAuthID = a.texts()
	case "exclude_authrole":
		f.ExcludeAuthRole = a.texts()
	default:
		f.EligibleAuthRole = a.texts()
	}
	return true
}

func (r *fieldReader) subscribeOptions(o *wamp.SubscribeOptions) {
	for a := r.attributes(); a.next(); {
		switch a.key {
		case "match":
			o.Match = a.match()
		case "get_retained":
			a.bool(&o.GetRetained)
		case "nkey":
			o.NKey = a.text()
		case "_overflow":
			var ok bool
			if o.Overflow, ok = wamp.ParseOverflow(a.text()); !ok {
				o.Overflow = wamp.OverflowInvalid
			}
		}
	}
}

func (r *fieldReader) eventDetails(o *wamp.EventDetails) {
	for a := r.attributes(); a.next(); {
		switch a.key {
		case "publisher":
			o.Publisher = a.id()
		case "publisher_authid":
			o.PublisherAuthID = a.text()
		case "publisher_authrole":
			o.PublisherAuthRole = a.text()
		case "topic":
			o.Topic = a.uri()
		case "retained":
			a.bool(&o.Retained)
		case "trustlevel":
			o.Trustlevel = a.trustlevel()
		default:
			a.passthru(&o.Passthru)
		}
	}
}

func (r *fieldReader) callOptions(o *wamp.CallOptions) {
	for a := r.attributes(); a.next(); {
		switch a.key {
		case "timeout":
			o.Timeout = a.uint(math.MaxUint64)
		case "receive_progress":
			a.bool(&o.ReceiveProgress)
		case "progress":
			a.bool(&o.Progress)
		case "disclose_me":
			a.bool(&o.DiscloseMe)
		case "rkey":
			o.RKey = a.text()
		case "runmode":
			o.RunMode = a.text()
		case "forward_for":
			o.ForwardFor = a.forwardFor()
		default:
			a.passthru(&o.Passthru)
		}
	}
}

func (r *fieldReader) resultDetails(o *wamp.ResultDetails) {
	for a := r.attributes(); a.next(); {
		switch a.key {
		case "progress":
			a.bool(&o.Progress)
		case "callee":
			o.Callee = a.id()
		case "callee_authid":
			o.CalleeAuthID = a.text()
		case "callee_authrole":
			o.CalleeAuthRole = a.text()
		default:
			a.passthru(&o.Passthru)
		}
	}
}

func (r *fieldReader) registerOptions(o *wamp.RegisterOptions) {
	for a := r.attributes(); a.next(); {
		switch a.key {
		case "match":
			o.Match = a.match()
		case "invoke":
			o.Invoke = a.invoke()
		case "concurrency":
			o.Concurrency = uint32(a.uint(math.MaxUint32))
		case "disclose_caller":
			a.bool(&o.DiscloseCaller)
		case "force_reregister":
			a.bool(&o.ForceReregister)
		case "forward_timeout":
			a.bool(&o.ForwardTimeout)
		}
	}
}

func (r *fieldReader) invocationDetails(o *wamp.InvocationDetails) {
	for a := r.attributes(); a.next(); {
		switch a.key {
		case "caller":
			o.Caller = a.id()
		case "caller_authid":
			o.CallerAuthID = a.text()
		case "caller_authrole":
			o.CallerAuthRole = a.text()
		case "forward_for":
			o.ForwardFor = a.forwardFor()
		case "procedure":
			o.Procedure = a.uri()
		case "timeout":
			o.Timeout = a.uint(math.MaxUint64)
		case "receive_progress":
			a.bool(&o.ReceiveProgress)
		case "progress":
			a.bool(&o.Progress)
		case "trustlevel":
			o.Trustlevel = a.trustlevel()
		default:
			a.passthru(&o.Passthru)
		}
	}
}

func (r *fieldReader) yieldOptions(o *wamp.YieldOptions) {
	for a := r.attributes(); a.next(); {
		if a.key == "progress" {
			a.bool(&o.Progress)
		} else {
			a.passthru(&o.Passthru)
		}
	}
}

// cancelOptions reads the options of CANCEL and, with a reason, INTERRUPT.
func (r *fieldReader) cancelOptions(mode *wamp.CancelMode, reason *wamp.URI) {
	for a := r.attributes(); a.next(); {
		switch {
		case a.key == "mode":
			*mode = a.cancelMode()
		case a.key == "reason" && reason != nil:
			*reason = a.uri()
		}
	}
}

// revocation reads the details of UNSUBSCRIBED and UNREGISTERED, which name what
// the router has taken back. They must be there when no request is answered.
func (r *fieldReader) revocation(request wamp.ID, key string, id *wamp.ID, reason *wamp.URI) {
	if r.err == nil && r.i+1 < r.d.n {
		for a := r.attributes(); a.next(); {
			switch a.key {
			case key:
				*id = a.id()
			case "reason":
				*reason = a.uri()
			}
		}
	}
	if r.err == nil && request == 0 && *id == 0 {
		r.fail("an answer, nor is there a " + key + " that is revoked")
	}
}
