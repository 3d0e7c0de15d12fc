package avrhil

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
)

// MicrobitSerial is the number of every micro:bit in QEMU: what the machine has as
// the chip's identity.
const MicrobitSerial = "0000000312345678"

var microbitTools = []tool{
	{"make", "make"}, {"arm-none-eabi-gcc", "gcc-arm-none-eabi"}, {"qemu-system-arm", "qemu-system-arm"},
}

// microbitImage is the firmware as ELF, built once per test binary.
var microbitImage = sync.OnceValues(func() ([]byte, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "microbit")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if out, err := run("make", "-s", "-C", filepath.Join(root, "firmware", "nodes"), "microbit", "B="+dir); err != nil {
		return nil, fmt.Errorf("firmware of the micro:bit: %w\n%s", err, out)
	}
	return os.ReadFile(filepath.Join(dir, "microbit.elf"))
})

// Microbit is a BBC micro:bit in QEMU with the firmware that says what it is. QEMU
// has its UART, timer and pins, but no thermometer. Its methods must not be called
// concurrently.
type Microbit struct {
	t     testing.TB
	image string
	link  string
	cmd   *exec.Cmd // nil while it is not plugged in
}

// NewMicrobit returns a board that is not plugged in. The end of the test unplugs it.
func NewMicrobit(t testing.TB) *Microbit {
	t.Helper()
	needPackage(t, missingTool(microbitTools))
	image, err := microbitImage()
	if err != nil {
		t.Fatal(err)
	}
	m := &Microbit{t: t, image: filepath.Join(t.TempDir(), "microbit.elf")}
	if err := os.WriteFile(m.image, image, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Unplug)
	return m
}

var redirected = regexp.MustCompile(`char device redirected to (/\S+)`)

// Plug plugs it in: link is its serial port. The firmware starts.
func (m *Microbit) Plug(link string) {
	m.t.Helper()
	m.link = link
	m.cmd = exec.Command("qemu-system-arm", "-M", "microbit", "-kernel", m.image, "-display", "none", "-monitor", "none", "-serial", "pty")
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	m.cmd.Stderr = m.cmd.Stdout
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		port := redirected.FindStringSubmatch(lines.Text())
		if port == nil {
			continue
		}
		if err := os.Symlink(port[1], link); err != nil {
			m.t.Fatal(err)
		}
		return
	}
	m.t.Fatalf("QEMU has no serial port: %v", lines.Err())
}

// Unplug takes it away. It may be called more than once.
func (m *Microbit) Unplug() {
	if m.cmd == nil {
		return
	}
	if err := os.Remove(m.link); err != nil {
		m.t.Error(err)
	}
	// It ends no other way.
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait()
	m.cmd = nil
}
