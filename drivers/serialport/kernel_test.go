package serialport_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/serialport"
	"gantry/internal/guest"

	"golang.org/x/sys/unix"
)

// usb is the guest's adapter, of which udev makes byID.
var usb = serialport.Config{USB: "0403:6001", Serial: "HIL0"}

const byID = "/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_HIL0-if00-port0"

func newLine(t *testing.T, cfg serialport.Config, line serialport.LineConfig) *serialport.Port {
	t.Helper()
	p, err := serialport.New(cfg, line, serialport.Roots{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// appear waits for the kernel and udev; gone for true until the file is not there.
func appear(t *testing.T, path string, gone bool) {
	t.Helper()
	for late := time.Now().Add(drivertest.Patience); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(path); (err != nil) == gone {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("%s: gone should be %v", path, gone)
		}
	}
}

// says checks that what is sent at the far end arrives at c, and the other way.
func says(t *testing.T, c *serialport.Conn, far net.Conn) {
	t.Helper()
	if err := far.SetDeadline(time.Now().Add(drivertest.Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(far, "21.5\n"); err != nil {
		t.Fatal(err)
	}
	hears(t, c, "21.5\n")
	if err := c.Write(t.Context(), []byte("LED 1\n")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 6)
	if _, err := io.ReadFull(far, buf); err != nil || string(buf) != "LED 1\n" {
		t.Fatalf("the far end got %q, %v", buf, err)
	}
}

func hears(t *testing.T, c *serialport.Conn, want string) {
	t.Helper()
	ctx, buf, got := within(t, drivertest.Patience), make([]byte, 64), ""
	for len(got) < len(want) {
		n, err := c.Read(ctx, buf)
		if err != nil {
			t.Fatalf("read %q: %v", got, err)
		}
		got += string(buf[:n])
	}
	if got != want {
		t.Fatalf("read %q, want %q", got, want)
	}
}

// TestKernelPortUSB has an adapter that is plugged in and out.
func TestKernelPortUSB(t *testing.T) {
	far := guest.PlugUSB(t)
	appear(t, byID, false)
	p := newLine(t, usb, serialport.LineConfig{Baud: 9600})
	t.Run("identity", func(t *testing.T) {
		found, err := serialport.List(serialport.Roots{})
		if err != nil {
			t.Fatal(err)
		}
		node, err := p.Resolve()
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range found {
			if info.Path == node && info.ByID == byID && info.Serial == "HIL0" {
				return
			}
		}
		t.Errorf("%s with %s is not in %+v", node, byID, found)
	})
	t.Run("bytes go both ways", func(t *testing.T) { says(t, open(t, p), far) })
	t.Run("a second open, which TIOCEXCL does not refuse root", func(t *testing.T) {
		c := open(t, p)
		f, err := os.OpenFile(c.Path(), os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Fatalf("as root, the kernel itself refuses: %v", err)
		}
		f.Close()
		_, err = newLine(t, serialport.Config{Path: byID}, serialport.LineConfig{}).Open(t.Context())
		wantIs(t, err, drivers.ErrBusy)
	})
	t.Run("unplugged while it is read", func(t *testing.T) {
		c := open(t, p)
		read := make(chan error, 1)
		go func() {
			_, err := c.Read(t.Context(), make([]byte, 8))
			read <- err
		}()
		far.Close()
		wantIs(t, <-read, drivers.ErrOffline)
		wantIs(t, c.Write(t.Context(), []byte("x")), drivers.ErrOffline)
		_, err := p.Open(t.Context())
		wantIs(t, err, drivers.ErrOffline)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		appear(t, byID, true)
	})
	t.Run("fifty times", func(t *testing.T) {
		var longest time.Duration
		for range 50 {
			far := guest.PlugUSB(t)
			appear(t, byID, false)
			there := time.Now()
			c, err := p.Open(t.Context())
			for err != nil && time.Since(there) < drivertest.Patience {
				c, err = p.Open(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			says(t, c, far)
			longest = max(longest, time.Since(there))
			far.Close()
			for ; err == nil; _, err = c.Read(within(t, drivertest.Patience), make([]byte, 8)) {
			}
			wantIs(t, err, drivers.ErrOffline)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			appear(t, byID, true)
		}
		t.Logf("at most %v from its link to bytes both ways", longest)
		if longest > 2*time.Second {
			t.Error("that is more than 2 s")
		}
	})
}

// modemLines returns which lines of a UART are on: "RTS|CTS|DTR". Opening the port to
// ask it would raise them.
func modemLines(t *testing.T, number string) string {
	t.Helper()
	b, err := os.ReadFile("/proc/tty/driver/serial")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == number+":" {
			return fields[len(fields)-1]
		}
	}
	t.Fatalf("no UART %s in:\n%s", number, b)
	return ""
}

// TestKernelPortUART has a 16550, which has parity and modem lines.
func TestKernelPortUART(t *testing.T) {
	far := guest.UART(t)
	path := ""
	ports, err := filepath.Glob("/sys/class/tty/ttyS*/device/subsystem")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range ports {
		if to, err := os.Readlink(link); err == nil && filepath.Base(to) == "pci" {
			path = "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(link)))
		}
	}
	on, off := true, false
	for _, mode := range []struct {
		name     string
		dtr, rts *bool
		flags    uint32
	}{
		{"8N1", nil, nil, unix.CS8},
		{"8E2", &off, &on, unix.CS8 | unix.PARENB | unix.CSTOPB},
		{"7O1", &on, &off, unix.CS7 | unix.PARENB | unix.PARODD},
	} {
		t.Run(mode.name, func(t *testing.T) {
			c := open(t, newLine(t, serialport.Config{Path: path}, serialport.LineConfig{Baud: 19200, Mode: mode.name, DTR: mode.dtr, RTS: mode.rts}))
			lines := modemLines(t, strings.TrimPrefix(path, "/dev/ttyS"))
			for name, want := range map[string]*bool{"DTR": mode.dtr, "RTS": mode.rts} {
				if want := want == nil || *want; strings.Contains(lines, name) != want {
					t.Errorf("lines %s, and %s should be %v", lines, name, want)
				}
			}
			f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			tio, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS2)
			if err != nil {
				t.Fatal(err)
			}
			const mask = unix.CSIZE | unix.PARENB | unix.PARODD | unix.CSTOPB
			if tio.Ospeed != 19200 || tio.Cflag&mask != mode.flags {
				t.Errorf("%d bits/s, flags %#x, want %#x", tio.Ospeed, tio.Cflag&mask, mode.flags)
			}
			says(t, c, far)
		})
	}
}

// TestKernelPortFaults has the port of the module hilbus, which gives back what it gets.
func TestKernelPortFaults(t *testing.T) {
	guest.Count(t, "tty_parity") // or skips
	const path = "/dev/ttyHIL0"
	port := func(t *testing.T, mode string) *serialport.Port {
		t.Helper()
		off := false
		return newLine(t, serialport.Config{Path: path}, serialport.LineConfig{Mode: mode, DTR: &off, RTS: &off})
	}
	echo := func(t *testing.T, c *serialport.Conn, sent, want string) {
		t.Helper()
		if err := c.Write(t.Context(), []byte(sent)); err != nil {
			t.Fatal(err)
		}
		hears(t, c, want)
	}
	t.Run("no modem lines", func(t *testing.T) {
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCMGET); !errors.Is(err, unix.ENOTTY) {
			t.Errorf("modem lines: %v", err)
		}
		echo(t, open(t, port(t, "8N1")), "21.5\n", "21.5\n")
	})
	t.Run("a parity error is no data", func(t *testing.T) {
		c := open(t, port(t, "8E1"))
		guest.Set(t, "tty_parity", 1)
		echo(t, c, "21.5\n", "\x001.5\n")
		echo(t, c, "21.5\n", "21.5\n")
	})
	t.Run("a write that blocks", func(t *testing.T) {
		p := port(t, "8N1")
		c := open(t, p)
		guest.Set(t, "tty_stuck", 1)
		read := make(chan error, 1)
		go func() {
			_, err := c.Read(t.Context(), make([]byte, 8))
			read <- err
		}()
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		wantIs(t, c.Write(ctx, bytes.Repeat([]byte("x"), 1<<17)), drivers.ErrTimeout)
		wantIs(t, <-read, drivers.ErrTimeout)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("write and close took %v", took)
		}
		guest.Set(t, "tty_stuck", 0)
		echo(t, open(t, p), "21.5\n", "21.5\n")
	})
	t.Run("a close that the kernel holds up", func(t *testing.T) {
		// Bytes that the port has taken and does not send: closing waits for them.
		p := port(t, "8N1")
		c := open(t, p)
		guest.Set(t, "tty_stuck", 1)
		if err := c.Write(t.Context(), []byte("21.5\n")); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		err := c.Close()
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("close took %v", took)
		}
		if err != nil {
			wantIs(t, err, drivers.ErrTimeout)
			_, err := p.Open(t.Context())
			wantIs(t, err, drivers.ErrBusy)
			if !strings.Contains(err.Error(), "has not come back") {
				t.Errorf("it says %v", err)
			}
		}
		guest.Set(t, "tty_stuck", 0)
		for late := time.Now().Add(2 * drivertest.Patience); ; time.Sleep(10 * time.Millisecond) {
			c, err := p.Open(t.Context())
			if err == nil {
				t.Logf("free again after %v", time.Since(begun))
				echo(t, c, "21.5\n", "21.5\n")
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				return
			}
			if time.Now().After(late) {
				t.Fatal(err)
			}
		}
	})
}
