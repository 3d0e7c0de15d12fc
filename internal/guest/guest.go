// Package guest gives tests the devices of the guest that make guest boots: the faults
// of its kernel module hilbus, and the far ends of its serial ports. It is for tests
// only; elsewhere each function skips the test.
package guest

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const parameters = "/sys/module/hilbus/parameters/"

// Set gives a parameter of hilbus a value. At the test's end it is 0, no fault. The
// parameters are listed at the head of .ci/guest/kernel/hilbus.c.
func Set(t testing.TB, parameter string, value int) {
	t.Helper()
	write := func(n int) error {
		return os.WriteFile(parameters+parameter, []byte(strconv.Itoa(n)), 0)
	}
	need(t)
	if err := write(value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := write(0); err != nil {
			t.Error(err)
		}
	})
}

// Count returns the value of a parameter that counts.
func Count(t testing.TB, parameter string) int {
	t.Helper()
	need(t)
	b, err := os.ReadFile(parameters + parameter)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// I2C returns the device file of the bus of hilbus, and fills the registers of the
// chip at 0x76.
func I2C(t testing.TB, registers [256]byte) (path string) {
	t.Helper()
	need(t)
	const device = "/sys/devices/platform/hilbus/"
	buses, err := filepath.Glob(device + "i2c-*")
	if err != nil || len(buses) != 1 {
		t.Fatal(buses, err)
	}
	if err := os.WriteFile(device+"regs76", registers[:], 0); err != nil {
		t.Fatal(err)
	}
	return "/dev/" + filepath.Base(buses[0])
}

func need(t testing.TB) {
	t.Helper()
	if _, err := os.Stat(parameters); err != nil {
		t.Skip("needs the kernel module hilbus, and root: make guest")
	}
}

// PlugUSB plugs the USB serial adapter in and returns the far end of its line. Closing
// that unplugs it. The adapter is 0403:6001 with the serial number HIL0. The far end
// has to be read, or the guest stands still.
func PlugUSB(t testing.TB) net.Conn { t.Helper(); return dial(t, "GANTRY_GUEST_USB") }

// UART returns the far end of the port that is a 16550 on PCI.
func UART(t testing.TB) net.Conn { t.Helper(); return dial(t, "GANTRY_GUEST_UART") }

// dial connects to the far end whose address a variable of the environment has. The
// test's end closes it.
func dial(t testing.TB, variable string) net.Conn {
	t.Helper()
	address := os.Getenv(variable)
	if address == "" {
		t.Skip("needs the serial ports of a guest: make guest")
	}
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
