package client

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gantry/wamp"
)

// Procedure is a field of an object for Attach: a procedure, as Register serves it.
type Procedure[In, Out any] func(ctx context.Context, in In) (Out, error)

// Handler is a field of an object for Attach: a handler of events, as Subscribe
// calls it.
type Handler[T any] func(v T, ev *wamp.Event)

// attachable is a Procedure or a Handler.
type attachable interface {
	attach(ctx context.Context, s wamp.Session, uri wamp.URI, opts []string) (Undo, error)
}

// Attach registers and subscribes every field of an object, given by pointer, that
// has a "wamp" tag: fields of type Procedure and Handler, which hold methods as a
// rule. The tag is the URI or template, and options behind commas:
//
//	type shop struct {
//		Add     client.Procedure[Item, int]  `wamp:"com.shop.add,invoke=roundrobin"`
//		Updated client.Handler[Update]       `wamp:"com.shop.<product:int>.update,get_retained"`
//	}
//
// Of a procedure the options are match=prefix, match=wildcard, invoke=POLICY,
// concurrency=N, disclose_caller, force_reregister and forward_timeout; of a handler
// match=prefix, match=wildcard, get_retained, nkey=KEY and overflow=POLICY.
//
// Embedded structs are attached too. If one field fails, what has been done is undone. The
// returned function gives everything back.
func Attach(ctx context.Context, s wamp.Session, object any) (Undo, error) {
	v := reflect.ValueOf(object)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("attach %T: expected a pointer to a struct", object)
	}
	var undos []Undo
	undo := func(ctx context.Context) error {
		var errs []error
		for _, u := range slices.Backward(undos) {
			errs = append(errs, u(ctx))
		}
		return errors.Join(errs...)
	}
	err := attach(ctx, s, v.Elem(), &undos)
	if err == nil && len(undos) == 0 {
		err = errors.New("no field has a tag")
	}
	if err != nil {
		// The session may have ended, and everything with it.
		_ = undo(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("attach %T: %w", object, err)
	}
	return undo, nil
}

// attach attaches the fields of a struct.
func attach(ctx context.Context, s wamp.Session, v reflect.Value, undos *[]Undo) error {
	t := v.Type()
	for i := range t.NumField() {
		tag, ok := t.Field(i).Tag.Lookup("wamp")
		switch {
		case !ok && t.Field(i).Anonymous && t.Field(i).Type.Kind() == reflect.Struct:
			if err := attach(ctx, s, v.Field(i), undos); err != nil {
				return err
			}
			continue
		case !ok:
			continue
		case !t.Field(i).IsExported():
			return fmt.Errorf("field %s is not exported", t.Field(i).Name)
		}
		a, ok := v.Field(i).Interface().(attachable)
		switch {
		case !ok:
			return fmt.Errorf("field %s is %s, expected client.Procedure or client.Handler", t.Field(i).Name, t.Field(i).Type)
		case v.Field(i).IsNil():
			return fmt.Errorf("field %s is nil", t.Field(i).Name)
		}
		words := strings.Split(tag, ",")
		u, err := a.attach(ctx, s, wamp.URI(words[0]), words[1:])
		if err != nil {
			return fmt.Errorf("field %s: %w", t.Field(i).Name, err)
		}
		*undos = append(*undos, u)
	}
	return nil
}

func (p Procedure[In, Out]) attach(ctx context.Context, s wamp.Session, uri wamp.URI, words []string) (Undo, error) {
	opts, err := registerOptions(words)
	if err != nil {
		return nil, err
	}
	return RegisterWith(ctx, s, uri, opts, p)
}

func (h Handler[T]) attach(ctx context.Context, s wamp.Session, uri wamp.URI, words []string) (Undo, error) {
	opts, err := subscribeOptions(words)
	if err != nil {
		return nil, err
	}
	return SubscribeWith(ctx, s, uri, opts, h)
}

func registerOptions(words []string) (o wamp.RegisterOptions, err error) {
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		ok := true
		switch key {
		case "match":
			o.Match, ok = wamp.ParseMatch(value)
		case "invoke":
			o.Invoke, ok = wamp.ParseInvoke(value)
		case "concurrency":
			var n uint64
			n, err = strconv.ParseUint(value, 10, 32)
			o.Concurrency, ok = uint32(n), err == nil
		case "disclose_caller":
			o.DiscloseCaller = true
		case "force_reregister":
			o.ForceReregister = true
		case "forward_timeout":
			o.ForwardTimeout = true
		default:
			ok = false
		}
		if !ok {
			return o, fmt.Errorf("%q is no option of a procedure", w)
		}
	}
	return o, nil
}

func subscribeOptions(words []string) (o wamp.SubscribeOptions, err error) {
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		ok := true
		switch key {
		case "match":
			o.Match, ok = wamp.ParseMatch(value)
		case "get_retained":
			o.GetRetained = true
		case "nkey":
			o.NKey = value
		case "overflow":
			o.Overflow, ok = wamp.ParseOverflow(value)
		default:
			ok = false
		}
		if !ok {
			return o, fmt.Errorf("%q is no option of a handler", w)
		}
	}
	return o, nil
}
