package wamp_test

import (
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"gantry/wamp"
)

// messages has one message of each type.
func messages() []wamp.Message {
	return []wamp.Message{
		&wamp.Hello{}, &wamp.Welcome{}, &wamp.Abort{}, &wamp.Challenge{}, &wamp.Authenticate{},
		&wamp.Goodbye{}, &wamp.ErrorReply{}, &wamp.Publish{}, &wamp.Published{}, &wamp.Subscribe{},
		&wamp.Subscribed{}, &wamp.Unsubscribe{}, &wamp.Unsubscribed{}, &wamp.Event{}, &wamp.Call{},
		&wamp.Cancel{}, &wamp.Result{}, &wamp.Register{}, &wamp.Registered{}, &wamp.Unregister{},
		&wamp.Unregistered{}, &wamp.Invocation{}, &wamp.Interrupt{}, &wamp.Yield{},
	}
}

func TestEveryTypeHasAMessage(t *testing.T) {
	t.Parallel()
	seen := map[wamp.MessageType]bool{}
	for _, m := range messages() {
		if seen[m.Type()] {
			t.Errorf("%s is the type of two messages", m.Type())
		}
		seen[m.Type()] = true
	}
	for typ := wamp.MessageType(0); typ < 1024; typ++ {
		if named := !strings.HasPrefix(typ.String(), "message type "); named != seen[typ] {
			t.Errorf("%s: named %v, message %v", typ, named, seen[typ])
		}
	}
	if s := wamp.MessageType(65535).String(); s != "message type 65535" {
		t.Error(s)
	}
}

// lender fills messages with strings and payloads that borrow its memory.
type lender struct{ lent [][]byte }

func (l *lender) bytes() []byte {
	b := []byte("borrowed")
	l.lent = append(l.lent, b)
	return b
}

// spoil overwrites everything that was lent, as the next message read does.
func (l *lender) spoil() {
	for _, b := range l.lent {
		copy(b, "XXXXXXXX")
	}
}

// fill sets each field of v. Maps and lists stay away: they are shared.
func (l *lender) fill(t *testing.T, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[wamp.Payload]() {
			v.Set(reflect.ValueOf(wamp.RawPayload(wamp.JSON, l.bytes(), l.bytes())))
			return
		}
		for i := range v.NumField() {
			l.fill(t, v.Field(i))
		}
	case reflect.String:
		b := l.bytes()
		v.SetString(unsafe.String(&b[0], len(b)))
	case reflect.Pointer:
		if v.Type() == reflect.TypeFor[*wamp.PublishFilter]() {
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		l.fill(t, v.Elem())
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(3)
	case reflect.Map, reflect.Slice:
	default:
		t.Fatalf("a field of type %s: what does it borrow?", v.Type())
	}
}

func TestCloneBorrowsNothing(t *testing.T) {
	t.Parallel()
	for _, m := range messages() {
		t.Run(m.Type().String(), func(t *testing.T) {
			t.Parallel()
			var l lender
			v := reflect.ValueOf(m).Elem()
			l.fill(t, v)
			// The same message again, with memory of its own.
			want := reflect.New(v.Type())
			new(lender).fill(t, want.Elem())

			got := wamp.Clone(m)
			l.spoil()
			v.SetZero()
			if diff := cmp.Diff(want.Interface(), got, cmp.AllowUnexported(wamp.Payload{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCloneOfNothingOptional(t *testing.T) {
	t.Parallel()
	for _, m := range messages() {
		if diff := cmp.Diff(m, wamp.Clone(m), cmp.AllowUnexported(wamp.Payload{})); diff != "" {
			t.Error(diff)
		}
	}
}

func TestSharedIsClonedOnce(t *testing.T) {
	t.Parallel()
	ev := &wamp.Event{Publication: 7, Details: wamp.EventDetails{Topic: "a.b"}}
	s := &wamp.Shared{Msg: ev}
	own := s.Own()
	if own == wamp.Message(ev) || s.Own() != own || wamp.Clone(s) != own {
		t.Error("Own is not one copy for all")
	}
	if s.Type() != wamp.TypeEvent {
		t.Error(s.Type())
	}
	if s.Frame(wamp.WebSocketCBOR) != nil {
		t.Error("a frame that nobody made")
	}
	f := &frame{}
	s.SetFrame(wamp.WebSocketCBOR, f)
	if s.Frame(wamp.WebSocketCBOR) != f || s.Frame(wamp.RawSocketCBOR) != nil {
		t.Error("frames are mixed up")
	}
	if s.Done(); f.released != 1 || s.Msg != nil || s.Frame(wamp.WebSocketCBOR) != nil {
		t.Errorf("done, with %d releases", f.released)
	}
	s.Msg = &wamp.Event{Publication: 8}
	if s.Own().(*wamp.Event).Publication != 8 {
		t.Error("the copy is one of an earlier message")
	}
}

// frame counts its releases.
type frame struct{ released int }

func (f *frame) Bytes() []byte { return nil }
func (f *frame) Hold()         {}
func (f *frame) Release()      { f.released++ }
