package gpio

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fake answers the ioctls of GPIO chips as the kernel does, on kernels without
// gpio-sim: the chips' device files are plain files, and a line is a pipe that carries
// the kernel's bytes.
type fake struct {
	t   testing.TB
	dir string

	mu    sync.Mutex // guards the rest, and the lines
	chips map[string]*fakeChip
	taken map[uintptr]*fakeLine // by the descriptor that was given out
	gone  bool                  // the chips have been unplugged
}

type fakeChip struct {
	label string
	lines []*fakeLine
}

type fakeLine struct {
	name, consumer string
	high           bool // the level on the wire
	request        lineRequest
	w              int // the pipe's end for writing; 0 = never requested
	seq            uint32
	switches       []fakeSwitch
}

type fakeSwitch struct {
	at   time.Time
	high bool
}

// newFake returns a kernel with the chip gpiochip0, label "pinctrl-fake", and lines of
// these names.
func newFake(t testing.TB, names ...string) *fake {
	t.Helper()
	f := &fake{t: t, dir: t.TempDir(), chips: map[string]*fakeChip{}, taken: map[uintptr]*fakeLine{}}
	f.plug("gpiochip0", "pinctrl-fake", names...)
	t.Cleanup(func() {
		for _, c := range f.chips {
			for _, l := range c.lines {
				if l.w != 0 {
					unix.Close(l.w)
				}
			}
		}
	})
	return f
}

func (f *fake) plug(chip, label string, names ...string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, chip), nil, 0o600); err != nil {
		f.t.Fatal(err)
	}
	c := &fakeChip{label: label}
	for _, n := range names {
		c.lines = append(c.lines, &fakeLine{name: n})
	}
	f.chips[chip] = c
}

func (f *fake) ioctl(fd, request uintptr, arg unsafe.Pointer) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone {
		return unix.ENODEV
	}
	switch request {
	case getValues, setValues:
		return f.taken[fd].values(request, (*lineValues)(arg))
	}
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(fd)))
	if err != nil {
		return err
	}
	c := f.chips[filepath.Base(path)]
	switch request {
	case getChipInfo:
		info := (*chipInfo)(arg)
		copy(info.Name[:], filepath.Base(path))
		copy(info.Label[:], c.label)
		info.Lines = uint32(len(c.lines))
		return nil
	case getLineInfo:
		info := (*lineInfo)(arg)
		copy(info.Name[:], c.lines[info.Offset].name)
		copy(info.Consumer[:], c.lines[info.Offset].consumer)
		return nil
	case getLine:
		r := (*lineRequest)(arg)
		return f.take(c.lines[r.Offsets[0]], r)
	}
	return unix.ENOTTY
}

// take gives a line out, unless it is in use.
func (f *fake) take(l *fakeLine, r *lineRequest) error {
	if l.consumer != "" && !released(l.w) {
		return unix.EBUSY
	}
	if l.w != 0 {
		unix.Close(l.w)
	}
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return err
	}
	l.request, l.w, l.seq, l.consumer = *r, ends[1], 0, text(r.Consumer)
	if r.Config.Flags&flagOutput != 0 {
		on := false
		for _, a := range r.Config.Attrs[:r.Config.NumAttrs] {
			on = on || a.Attr.ID == attrOutputValues && a.Attr.Value&a.Mask&1 == 1
		}
		l.high = on != l.low()
	}
	r.FD = int32(ends[0])
	f.taken[uintptr(ends[0])] = l
	return nil
}

// released reports whether the other end of the pipe has been closed.
func released(w int) bool {
	p := []unix.PollFd{{Fd: int32(w)}}
	_, err := unix.Poll(p, 0)
	return w != 0 && err == nil && p[0].Revents&unix.POLLERR != 0
}

func (l *fakeLine) low() bool { return l.request.Config.Flags&flagActiveLow != 0 }

func (l *fakeLine) values(request uintptr, v *lineValues) error {
	if request == setValues {
		if l.request.Config.Flags&flagOutput == 0 {
			return unix.EPERM
		}
		l.high = (v.Bits&1 == 1) != l.low()
		l.switches = append(l.switches, fakeSwitch{time.Now(), l.high})
		return nil
	}
	v.Bits = 0
	if l.high != l.low() {
		v.Bits = 1
	}
	return nil
}

func (f *fake) line(name string) *fakeLine {
	for _, c := range f.chips {
		for _, l := range c.lines {
			if l.name == name {
				return l
			}
		}
	}
	f.t.Fatalf("no line %s", name)
	return nil
}

// pull changes the level of a line from outside, at the given time. Nothing is told
// of an edge that is lost.
func (f *fake) pull(name string, high bool, at time.Time, lost bool) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.line(name)
	if l.high == high {
		return
	}
	l.high = high
	id, flag := uint32(2), uint64(flagFalling)
	if high != l.low() {
		id, flag = eventRising, flagRising
	}
	if l.request.Config.Flags&flag == 0 {
		return
	}
	l.seq++
	if lost {
		return
	}
	b := binary.NativeEndian.AppendUint64(nil, uint64(at.UnixNano()))
	for _, v := range []uint32{id, 0, l.seq, l.seq} {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	if _, err := unix.Write(l.w, append(b, make([]byte, 24)...)); err != nil {
		f.t.Error(err)
	}
}

func (f *fake) isHigh(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.line(name).high
}

func (f *fake) switches(name string) []fakeSwitch {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.line(name).switches
}

// unplug makes everything fail as after the chip has been pulled out.
func (f *fake) unplug() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = true
	for _, c := range f.chips {
		for _, l := range c.lines {
			if l.w != 0 {
				unix.Close(l.w)
				l.w, l.consumer = 0, ""
			}
		}
	}
}

// sim is a chip of the kernel's gpio-sim.
type sim struct{ config, dir string }

// simLabel is the label of simulated chips.
const simLabel = "pinctrl-fake"

// newSim makes a chip with these lines, or skips the test.
func newSim(t *testing.T, names ...string) *sim {
	t.Helper()
	const root = "/sys/kernel/config/gpio-sim"
	if _, err := os.Stat(root); err != nil {
		t.Skip("needs a kernel with gpio-sim, configfs, and root")
	}
	dev, err := os.MkdirTemp(root, "gantry-test-")
	if err != nil {
		t.Skipf("needs root: %v", err)
	}
	t.Cleanup(func() { os.Remove(dev) })
	bank := filepath.Join(dev, "bank0")
	dirs := []string{bank}
	for i := range names {
		dirs = append(dirs, filepath.Join(bank, "line"+strconv.Itoa(i)))
	}
	for _, d := range dirs {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(d) })
	}
	write(t, filepath.Join(bank, "num_lines"), strconv.Itoa(len(names)))
	write(t, filepath.Join(bank, "label"), simLabel)
	for i, n := range names {
		write(t, filepath.Join(bank, "line"+strconv.Itoa(i), "name"), n)
	}
	made := &sim{config: dev}
	made.plug(t)
	t.Cleanup(func() {
		if content(t, filepath.Join(dev, "live")) == "1" {
			made.unplug(t)
		}
	})
	return made
}

// plug makes the kernel have the chip, whose number may be another each time.
func (s *sim) plug(t testing.TB) {
	t.Helper()
	write(t, filepath.Join(s.config, "live"), "1")
	s.dir = filepath.Join("/sys/devices/platform", content(t, filepath.Join(s.config, "dev_name")), content(t, filepath.Join(s.config, "bank0", "chip_name")))
}

func (s *sim) unplug(t testing.TB) { t.Helper(); write(t, filepath.Join(s.config, "live"), "0") }

func (s *sim) pull(t testing.TB, line int, high bool) {
	t.Helper()
	write(t, filepath.Join(s.dir, "sim_gpio"+strconv.Itoa(line), "pull"), map[bool]string{true: "pull-up", false: "pull-down"}[high])
}

func (s *sim) isHigh(t testing.TB, line int) bool {
	t.Helper()
	return content(t, filepath.Join(s.dir, "sim_gpio"+strconv.Itoa(line), "value")) == "1"
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func content(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}
