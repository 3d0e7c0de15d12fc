package config

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"gantry/bridge"
	"gantry/drivers"
	"gantry/store"
	"gantry/wamp/router"
)

// Error tells what is wrong with a configuration and where.
type Error struct {
	File    string // path as it was opened; empty only for errors without a file
	Line    int    // 1-based; 0 where the file as a whole is meant
	Key     string // dotted, from the top of the file; may be empty
	Text    string // what is wrong
	Allowed string // what would be right; may be empty
	// Device is the device that does not run because of the error; empty when the
	// gateway as a whole cannot.
	Device string
}

// Error returns "file:line: key: text; allowed: ...".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		b.WriteString(":" + strconv.Itoa(e.Line))
	}
	if e.File != "" {
		b.WriteString(": ")
	}
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Text)
	if e.Allowed != "" {
		b.WriteString("; allowed: " + e.Allowed)
	}
	return b.String()
}

// Errors lists everything that is wrong, by file and line.
type Errors []*Error

// Error returns one line for each error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Fatal returns the errors that concern the gateway as a whole, not one device.
func (e Errors) Fatal() Errors {
	return slices.DeleteFunc(slices.Clone(e), func(err *Error) bool { return err.Device != "" })
}

func (e Errors) sort() {
	slices.SortStableFunc(e, func(a, b *Error) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		return a.Line - b.Line
	})
}

// KeyError tells which key of a table is wrong, relative to the table, what is
// wrong and what is allowed.
type KeyError struct {
	Key, Text, Allowed string
}

// Error returns key and text.
func (e *KeyError) Error() string { return e.Key + ": " + e.Text }

// splitJoined returns the errors inside err: those joined by errors.Join, else
// err alone.
func splitJoined(err error) []error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, splitJoined(e)...)
		}
		return all
	}
	return []error{err}
}

// asKeyError reads the errors by which the rooms name a key. Of any other error
// the text remains, with the form "text; allowed: what" taken apart.
func asKeyError(err error) KeyError {
	var own *KeyError
	var ofDriver *drivers.ConfigError
	var ofBridge *bridge.ConfigError
	var ofStore *store.ConfigError
	var ofRouter *router.ConfigError
	switch {
	case errors.As(err, &own):
		return *own
	case errors.As(err, &ofDriver):
		return KeyError(*ofDriver)
	case errors.As(err, &ofBridge):
		return KeyError(*ofBridge)
	case errors.As(err, &ofStore):
		return KeyError(*ofStore)
	case errors.As(err, &ofRouter):
		return KeyError(*ofRouter)
	}
	text, allowed, _ := strings.Cut(err.Error(), "; allowed: ")
	return KeyError{Text: text, Allowed: allowed}
}
