package drivers

import (
	"fmt"
	"runtime/debug"
	"strings"
)

// PanicError is a panic of a driver, caught.
type PanicError struct {
	Value any    // what it panicked with
	Stack []byte // where, as of debug.Stack
}

// Error returns the start of the value: 200 bytes at most.
func (e *PanicError) Error() string {
	s := fmt.Sprintf("panic: %v", e.Value)
	return strings.ToValidUTF8(s[:min(len(s), 200)], "\uFFFD")
}

// Contain runs f and turns a panic into a *PanicError. The hub calls a driver within
// it. A goroutine that a driver starts needs it as well, as no one else can catch its
// panic, and Run returns the error.
func Contain(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return f()
}
