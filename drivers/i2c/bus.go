package i2c

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"unsafe"

	"gantry/drivers"
	"gantry/internal/ioctl"
	"gantry/internal/lane"

	"golang.org/x/sys/unix"
)

// port is an open bus.
type port interface {
	// Transfer writes w, if there is any, and then reads r, if there is any, without
	// letting the bus go in between.
	Transfer(address uint8, w, r []byte) error
	io.Closer
}

// message and messages are struct i2c_msg and i2c_rdwr_ioctl_data.
type message struct {
	Address, Flags, Length uint16
	Bytes                  *byte
}

type messages struct {
	Messages *message
	N        uint32
}

const (
	readFlag  = 0x0001
	readWrite = 0x0707
)

// device is a device file of the kernel.
type device struct{ f *os.File }

func openDevice(path string) (port, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: no I2C bus (on a Raspberry Pi, dtparam=i2c_arm=on in config.txt makes one): %v", drivers.ErrOffline, err)
	}
	return device{f}, nil
}

func (d device) Close() error { return d.f.Close() }

func (d device) Transfer(address uint8, w, r []byte) error {
	var list [2]message
	n := 0
	if len(w) > 0 {
		list[n] = message{Address: uint16(address), Length: uint16(len(w)), Bytes: unsafe.SliceData(w)}
		n++
	}
	if len(r) > 0 {
		list[n] = message{Address: uint16(address), Flags: readFlag, Length: uint16(len(r)), Bytes: unsafe.SliceData(r)}
		n++
	}
	return ioctl.On(ioctl.Do, d.f, readWrite, &messages{Messages: &list[0], N: uint32(n)})
}

// Buses are the buses that are in use. Devices that name the same one share it. It is
// safe for concurrent use.
type Buses struct {
	open func(path string) (port, error)

	mu  sync.Mutex // guards all and the users of each bus
	all map[string]*bus
}

// NewBuses returns buses of which none is open.
func NewBuses() *Buses { return &Buses{open: openDevice, all: map[string]*bus{}} }

// bus is an open bus.
type bus struct {
	port
	lane  lane.Lane // a transfer at a time
	users int
}

// attach returns the bus, which the first user opens. Who gets it calls release, and the
// last one closes it.
func (b *Buses) attach(path string) (u *bus, release func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	u = b.all[path]
	if u == nil {
		p, err := b.open(path)
		if err != nil {
			return nil, nil, err
		}
		u = &bus{port: p}
		b.all[path] = u
	}
	u.users++
	return u, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if u.users--; u.users == 0 {
			delete(b.all, path)
			u.Close()
		}
	}, nil
}

// wire is a chip's way to its bus.
type wire struct {
	bus     *bus
	address uint8
}

// transfer writes w and then reads r. What is not acknowledged is sent once more: long
// wires have glitches, and the chips do not mind. A transfer cannot be called off: the
// kernel gives up by itself, after a second or so.
func (w wire) transfer(ctx context.Context, out, in []byte) error {
	if err := w.bus.lane.Enter(ctx, lane.Of(ctx, lane.Poll)); err != nil {
		return err
	}
	defer w.bus.lane.Leave()
	err := w.bus.Transfer(w.address, out, in)
	if unacknowledged(err) {
		err = w.bus.Transfer(w.address, out, in)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ETIMEDOUT):
		return fmt.Errorf("%w: the bus hangs: %v", drivers.ErrTimeout, err)
	case unacknowledged(err):
		return fmt.Errorf("%w: no chip answers at address %#x", drivers.ErrOffline, w.address)
	}
	return fmt.Errorf("%w: %v", drivers.ErrOffline, err)
}

// unacknowledged reports whether nobody took the transfer; which of the two it is
// depends on the adapter's driver (Documentation/i2c/fault-codes.rst).
func unacknowledged(err error) bool {
	return errors.Is(err, unix.ENXIO) || errors.Is(err, unix.EREMOTEIO)
}

// read returns n bytes of a register.
func (w wire) read(ctx context.Context, register byte, n int) ([]byte, error) {
	b := make([]byte, n)
	return b, w.transfer(ctx, []byte{register}, b)
}

// write sends bytes.
func (w wire) write(ctx context.Context, b ...byte) error { return w.transfer(ctx, b, nil) }
