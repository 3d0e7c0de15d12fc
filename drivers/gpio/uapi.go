package gpio

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unsafe"

	"gantry/drivers"
	"gantry/internal/ioctl"

	"golang.org/x/sys/unix"
)

// The kernel's structures and numbers, include/uapi/linux/gpio.h.
const (
	nameSize = 32
	maxLines = 64
	maxAttrs = 10
)

type chipInfo struct {
	Name, Label [nameSize]byte
	Lines       uint32
}

type lineAttribute struct {
	ID, _ uint32
	Value uint64 // flags, values, or the debounce period in microseconds in its lower half
}

type lineConfigAttribute struct {
	Attr lineAttribute
	Mask uint64
}

type lineConfig struct {
	Flags    uint64
	NumAttrs uint32
	_        [5]uint32
	Attrs    [maxAttrs]lineConfigAttribute
}

type lineRequest struct {
	Offsets         [maxLines]uint32
	Consumer        [nameSize]byte
	Config          lineConfig
	NumLines        uint32
	EventBufferSize uint32
	_               [5]uint32
	FD              int32
}

type lineInfo struct {
	Name, Consumer   [nameSize]byte
	Offset, NumAttrs uint32
	Flags            uint64
	Attrs            [maxAttrs]lineAttribute
	_                [4]uint32
}

type lineValues struct{ Bits, Mask uint64 }

type lineEvent struct {
	Nanoseconds                  uint64
	ID, Offset, Seqno, LineSeqno uint32
	_                            [6]uint32
}

const (
	flagActiveLow = 2 << iota
	flagInput
	flagOutput
	flagRising
	flagFalling
	flagOpenDrain
	flagOpenSource
	flagPullUp
	flagPullDown
	flagNoBias
	flagRealtime
)

const (
	attrOutputValues = 2
	attrDebounce     = 3
	eventRising      = 1
)

// ioctl numbers as all the architectures encode them that Gantry is built for.
const (
	dirRead, dirWrite = 2 << 30, 1 << 30
	gpioMagic         = 0xb4 << 8

	getChipInfo = dirRead | unsafe.Sizeof(chipInfo{})<<16 | gpioMagic | 0x01
	getLineInfo = dirRead | dirWrite | unsafe.Sizeof(lineInfo{})<<16 | gpioMagic | 0x05
	getLine     = dirRead | dirWrite | unsafe.Sizeof(lineRequest{})<<16 | gpioMagic | 0x07
	getValues   = dirRead | dirWrite | unsafe.Sizeof(lineValues{})<<16 | gpioMagic | 0x0e
	setValues   = dirRead | dirWrite | unsafe.Sizeof(lineValues{})<<16 | gpioMagic | 0x0f
)

func text(b [nameSize]byte) string {
	s, _, _ := bytes.Cut(b[:], []byte{0})
	return strings.ToValidUTF8(string(s), "\uFFFD")
}

// chip is an open chip.
type chip struct {
	do    ioctl.Func
	f     *os.File
	name  string // "gpiochip0 (pinctrl-bcm2711)"
	lines []lineInfo
}

// openChips opens the chips whose name or label is want, or all. The caller closes
// them.
func openChips(do ioctl.Func, dir, want string) (chips []*chip, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, "gpiochip*"))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			closeChips(chips)
		}
	}()
	for _, path := range paths {
		c, label, err := openChip(do, path)
		if err != nil {
			return chips, fmt.Errorf("%w: %v", drivers.ErrOffline, err)
		}
		chips = append(chips, c)
		if want != "" && want != filepath.Base(path) && want != label {
			chips = chips[:len(chips)-1]
			c.f.Close()
		}
	}
	return chips, nil
}

func closeChips(chips []*chip) {
	for _, c := range chips {
		c.f.Close()
	}
}

func openChip(do ioctl.Func, path string) (c *chip, label string, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, "", err
	}
	var info chipInfo
	if err := ioctl.On(do, f, getChipInfo, &info); err != nil {
		f.Close()
		return nil, "", fmt.Errorf("%s: %v", path, err)
	}
	label = text(info.Label)
	c = &chip{do: do, f: f, name: fmt.Sprintf("%s (%s)", filepath.Base(path), label)}
	for i := range min(info.Lines, 1<<12) {
		line := lineInfo{Offset: i}
		if err := ioctl.On(do, f, getLineInfo, &line); err != nil {
			f.Close()
			return nil, "", fmt.Errorf("%s: line %d: %v", path, i, err)
		}
		c.lines = append(c.lines, line)
	}
	return c, label, nil
}

// find returns the chip and the line of a point.
func find(chips []*chip, p *point) (*chip, *lineInfo, error) {
	var at *chip
	var line *lineInfo
	for _, c := range chips {
		i := slices.IndexFunc(c.lines, func(l lineInfo) bool {
			return p.line != "" && text(l.Name) == p.line || p.line == "" && int64(l.Offset) == p.number
		})
		switch {
		case i < 0:
		case at != nil:
			return nil, nil, fmt.Errorf("%w: both %s and %s have a line %s; say which chip", drivers.ErrOffline, at.name, c.name, p.name())
		default:
			at, line = c, &c.lines[i]
		}
	}
	if at == nil {
		return nil, nil, fmt.Errorf("%w: no line %s (gpioinfo shows the lines)", drivers.ErrOffline, p.name())
	}
	return at, line, nil
}

// request takes the line of a point.
func (c *chip) request(info *lineInfo, p *point) (*os.File, error) {
	r := lineRequest{NumLines: 1, Config: lineConfig{Flags: p.flags}, EventBufferSize: eventBuffer}
	r.Offsets[0] = info.Offset
	copy(r.Consumer[:maxName], "gantry")
	switch {
	case p.bounce > 0:
		r.Config.attribute(attrDebounce, debounceValue(p.bounce))
	case p.kind == kindOutput && p.on:
		r.Config.attribute(attrOutputValues, 1)
	}
	err := ioctl.On(c.do, c.f, getLine, &r)
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("%w: line %s of %s is used by %q", drivers.ErrBusy, p.name(), c.name, text(info.Consumer))
	case err != nil:
		return nil, fmt.Errorf("%w: line %s of %s: %v", drivers.ErrOffline, p.name(), c.name, err)
	}
	if err := unix.SetNonblock(int(r.FD), true); err != nil {
		unix.Close(int(r.FD))
		return nil, err
	}
	return os.NewFile(uintptr(r.FD), c.name+" "+p.name()), nil
}

// eventBuffer is how many edges the kernel is asked to keep for a line.
const eventBuffer = 256

// attribute adds an attribute for the only line of the request.
func (c *lineConfig) attribute(id uint32, value uint64) {
	c.Attrs[c.NumAttrs] = lineConfigAttribute{lineAttribute{ID: id, Value: value}, 1}
	c.NumAttrs++
}

// debounceValue is the union's 32-bit member, which is at its first address.
func debounceValue(d time.Duration) (v uint64) {
	*(*uint32)(unsafe.Pointer(&v)) = uint32(d.Microseconds())
	return v
}

// eventSize is that of an edge in the stream.
const eventSize = int(unsafe.Sizeof(lineEvent{}))

// decodeEvents returns the edges in what was read of a line, whole ones only.
func decodeEvents(b []byte) []lineEvent {
	events := make([]lineEvent, len(b)/eventSize)
	for i := range events {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&events[i])), eventSize), b[i*eventSize:])
	}
	return events
}
