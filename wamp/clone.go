package wamp

import "strings"

func own(u URI) URI { return URI(strings.Clone(string(u))) }

func (p *Passthru) own() *Passthru {
	if p == nil {
		return nil
	}
	return &Passthru{
		Scheme: strings.Clone(p.Scheme), Serializer: strings.Clone(p.Serializer),
		Cipher: strings.Clone(p.Cipher), KeyID: strings.Clone(p.KeyID),
	}
}

// Own copies what m borrows, as Clone does, for a message that was copied by value.
func (m *Result) Own() {
	d := &m.Details
	d.CalleeAuthID, d.CalleeAuthRole = strings.Clone(d.CalleeAuthID), strings.Clone(d.CalleeAuthRole)
	d.Passthru = d.Passthru.own()
	m.Payload = m.Payload.Clone()
}

// Own copies what m borrows, as Clone does, for a message that was copied by value.
func (m *Invocation) Own() {
	d := &m.Details
	d.Procedure = own(d.Procedure)
	d.CallerAuthID, d.CallerAuthRole = strings.Clone(d.CallerAuthID), strings.Clone(d.CallerAuthRole)
	d.Passthru = d.Passthru.own()
	m.Payload = m.Payload.Clone()
}

// Clone returns a copy of m that borrows nothing from it: strings and raw
// payloads are copied; Go values, Dicts and the lists of options are shared, since
// decoders make them anew for each message and nobody changes them. A *Shared
// yields its Own message.
func Clone(m Message) Message {
	switch m := m.(type) {
	case *Shared:
		return m.Own()
	case *Hello:
		c := *m
		c.Realm = own(m.Realm)
		return &c
	case *Welcome:
		c := *m
		return &c
	case *Abort:
		c := *m
		c.Reason, c.Payload = own(m.Reason), m.Payload.Clone()
		return &c
	case *Challenge:
		c := *m
		c.AuthMethod = strings.Clone(m.AuthMethod)
		return &c
	case *Authenticate:
		c := *m
		c.Signature = strings.Clone(m.Signature)
		return &c
	case *Goodbye:
		c := *m
		c.Reason = own(m.Reason)
		return &c
	case *ErrorReply:
		c := *m
		c.URI, c.Payload = own(m.URI), m.Payload.Clone()
		return &c
	case *Publish:
		c := *m
		c.Topic, c.Payload = own(m.Topic), m.Payload.Clone()
		c.Options.RKey = strings.Clone(m.Options.RKey)
		c.Options.Passthru = m.Options.Passthru.own()
		if o := m.Options.Once; o != nil {
			c.Options.Once = &Once{strings.Clone(o.Stream), o.Epoch, o.Seq, o.Again}
		}
		return &c
	case *Published:
		c := *m
		return &c
	case *Subscribe:
		c := *m
		c.Topic, c.Options.NKey = own(m.Topic), strings.Clone(m.Options.NKey)
		return &c
	case *Subscribed:
		c := *m
		return &c
	case *Unsubscribe:
		c := *m
		return &c
	case *Unsubscribed:
		c := *m
		c.Reason = own(m.Reason)
		return &c
	case *Event:
		c := *m
		d := &c.Details
		d.Topic = own(d.Topic)
		d.PublisherAuthID = strings.Clone(d.PublisherAuthID)
		d.PublisherAuthRole = strings.Clone(d.PublisherAuthRole)
		d.Passthru = d.Passthru.own()
		c.Payload = m.Payload.Clone()
		return &c
	case *Call:
		c := *m
		c.Procedure, c.Payload = own(m.Procedure), m.Payload.Clone()
		c.Options.RKey, c.Options.RunMode = strings.Clone(m.Options.RKey), strings.Clone(m.Options.RunMode)
		c.Options.Passthru = m.Options.Passthru.own()
		return &c
	case *Cancel:
		c := *m
		return &c
	case *Result:
		c := *m
		c.Own()
		return &c
	case *Register:
		c := *m
		c.Procedure = own(m.Procedure)
		return &c
	case *Registered:
		c := *m
		return &c
	case *Unregister:
		c := *m
		return &c
	case *Unregistered:
		c := *m
		c.Reason = own(m.Reason)
		return &c
	case *Invocation:
		c := *m
		c.Own()
		return &c
	case *Interrupt:
		c := *m
		c.Reason = own(m.Reason)
		return &c
	case *Yield:
		c := *m
		c.Options.Passthru = m.Options.Passthru.own()
		c.Payload = m.Payload.Clone()
		return &c
	}
	panic("wamp: Clone of an unknown message type")
}
