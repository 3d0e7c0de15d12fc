package drivertest

import (
	"os"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// OpenWire opens a pseudo terminal that is like a wire: nothing is echoed, even
// while nobody has the near end open. The driver under test opens near.Name(); near
// stays open, or the far end has nothing to read from while nobody has the port.
// Closing the far end ends a pending read of it, which takes a descriptor that does
// not block. The caller closes both.
func OpenWire() (far, near *os.File, err error) {
	blocking, near, err := pty.Open()
	if err != nil {
		return nil, nil, err
	}
	defer blocking.Close()
	far, err = plainWire(blocking, near)
	if err != nil {
		near.Close()
		return nil, nil, err
	}
	return far, near, nil
}

func plainWire(blocking, near *os.File) (far *os.File, err error) {
	mode, err := unix.IoctlGetTermios(int(near.Fd()), unix.TCGETS)
	if err != nil {
		return nil, err
	}
	mode.Iflag, mode.Oflag, mode.Lflag = 0, 0, 0
	if err := unix.IoctlSetTermios(int(near.Fd()), unix.TCSETS, mode); err != nil {
		return nil, err
	}
	fd, err := unix.FcntlInt(blocking.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), blocking.Name()), nil
}
