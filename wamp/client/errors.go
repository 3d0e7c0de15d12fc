package client

import (
	"errors"
	"fmt"
	"reflect"

	"gantry/wamp"
)

// ErrorMap translates between Go errors and error URIs, in both directions. It is
// filled before the first session uses it, and does not change afterwards. The nil
// ErrorMap translates nothing.
//
// Towards the caller, a handler's error that is or wraps a *wamp.Error goes as that,
// one that the map knows under its URI, any other as wamp.error.runtime_error with
// its text. Towards the application, an ERROR whose URI the map knows becomes an
// error that matches both the Go error (errors.Is, errors.As) and *wamp.Error.
type ErrorMap struct {
	entries []errorEntry
}

type errorEntry struct {
	uri    wamp.URI
	match  func(error) (wamp.Payload, bool)
	create func(wamp.Payload) (error, error) // the Go error, or why it cannot be made
}

// MapError has target, an error value such as errors.New makes, stand for uri. It
// panics when either is taken: that is a mistake of the program.
func (m *ErrorMap) MapError(uri wamp.URI, target error) {
	m.add(errorEntry{uri,
		func(err error) (wamp.Payload, bool) { return wamp.Args(err.Error()), errors.Is(err, target) },
		func(wamp.Payload) (error, error) { return target, nil },
	})
}

// MapErrorType has errors of type E stand for uri. Where E is a struct with "wamp"
// tags, or a pointer to one, its fields travel as they say (see Layout); where no
// field is argument 0, that is the error's text.
func MapErrorType[E error](m *ErrorMap, uri wamp.URI) error {
	l, err := layoutOf(reflect.TypeFor[E]())
	if err != nil {
		return fmt.Errorf("error %s: %w", uri, err)
	}
	m.add(errorEntry{uri,
		func(err error) (wamp.Payload, bool) {
			var e E
			if !errors.As(err, &e) {
				return wamp.Payload{}, false
			}
			return l.encodeError(e), true
		},
		func(p wamp.Payload) (error, error) {
			var e E
			err := l.decodeError(p, &e)
			return e, err
		},
	})
	return nil
}

func (m *ErrorMap) add(e errorEntry) {
	for _, other := range m.entries {
		if other.uri == e.uri {
			panic("client: the error " + string(e.uri) + " is mapped twice")
		}
	}
	m.entries = append(m.entries, e)
}

// encode returns err as the caller gets it.
func (m *ErrorMap) encode(err error) *wamp.Error {
	var e *wamp.Error
	if errors.As(err, &e) {
		return e
	}
	if m != nil {
		for _, entry := range m.entries {
			if p, ok := entry.match(err); ok {
				return &wamp.Error{URI: entry.uri, Payload: p, Text: err.Error()}
			}
		}
	}
	return &wamp.Error{URI: wamp.ErrURIRuntimeError, Payload: wamp.Args(err.Error()), Text: err.Error()}
}

// decode returns the Go error that the map has for e; e itself if there is none.
func (m *ErrorMap) decode(e *wamp.Error) error {
	if m == nil {
		return e
	}
	for _, entry := range m.entries {
		if entry.uri != e.URI {
			continue
		}
		if err, fault := entry.create(e.Payload); fault == nil {
			return &mappedError{wire: e, err: err}
		}
	}
	return e
}

// mappedError is an ERROR as the Go error that it stands for.
type mappedError struct {
	wire *wamp.Error
	err  error
}

// Error returns the text of the Go error.
func (e *mappedError) Error() string { return e.err.Error() }

// Unwrap returns both.
func (e *mappedError) Unwrap() []error { return []error{e.err, e.wire} }

// MismatchError tells of a payload that does not fit the Go type it was meant for.
// Inside it is a *wamp.Error with wamp.error.invalid_argument, which is what the
// caller gets when it comes from a procedure's arguments.
type MismatchError struct {
	// What does not fit: "argument 0", "keyword argument unit".
	What string
	// Expected is the Go type that was meant, such as "float64".
	Expected string
	// Cause says what was there instead.
	Cause string
}

// Error says what was expected and what was there.
func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s: expected %s: %s", e.What, e.Expected, e.Cause)
}

// Unwrap returns what is sent to the caller.
func (e *MismatchError) Unwrap() error {
	return wamp.NewError(wamp.ErrURIInvalidArgument, e.Error(), wamp.Dict{"what": e.What, "expected": e.Expected})
}
