// Package ioctl makes ioctl(2) calls whose argument is a structure.
package ioctl

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Func does an ioctl: Do, or what a test has in its place.
type Func func(fd, request uintptr, arg unsafe.Pointer) error

// Do asks the kernel.
func Do(fd, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// On does an ioctl on a file that may be closed at the same time. arg, and what it
// points to, is only used until On returns.
func On[T any](do Func, f *os.File, request uintptr, arg *T) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno error
	if err := conn.Control(func(fd uintptr) { errno = do(fd, request, unsafe.Pointer(arg)) }); err != nil {
		return err
	}
	runtime.KeepAlive(arg)
	return errno
}
