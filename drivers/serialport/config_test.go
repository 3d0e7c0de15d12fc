package serialport_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gantry/drivers"
	"gantry/drivers/serialport"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func speed(t *testing.T, f *os.File) uint32 {
	t.Helper()
	tio, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS2)
	if err != nil {
		t.Skipf("needs TCGETS2: %v", err)
	}
	return tio.Ospeed
}

func TestBadConfigurationNamesTheKey(t *testing.T) {
	t.Parallel()
	zero := uint8(0)
	for name, tc := range map[string]struct {
		port serialport.Config
		line serialport.LineConfig
		key  string
	}{
		"no port":            {key: "port"},
		"serial alone":       {port: serialport.Config{Serial: "A1"}, key: "port"},
		"path and identity":  {port: serialport.Config{Path: "/dev/ttyUSB0", Interface: &zero}, key: "port"},
		"NUL in the path":    {port: serialport.Config{Path: "/dev/\x00"}, key: "port.path"},
		"identity by name":   {port: serialport.Config{USB: "FTDI"}, key: "port.usb"},
		"identity too short": {port: serialport.Config{USB: "403:6001"}, key: "port.usb"},
		"baud too low":       {port: serialport.Config{Path: "/dev/x"}, line: serialport.LineConfig{Baud: 5}, key: "line.baud"},
		"baud too high":      {port: serialport.Config{Path: "/dev/x"}, line: serialport.LineConfig{Baud: 1 << 31}, key: "line.baud"},
		"mode of words":      {port: serialport.Config{Path: "/dev/x"}, line: serialport.LineConfig{Mode: "even"}, key: "line.mode"},
		"nine bits":          {port: serialport.Config{Path: "/dev/x"}, line: serialport.LineConfig{Mode: "9N1"}, key: "line.mode"},
	} {
		_, err := serialport.New(tc.port, tc.line, serialport.Roots{}, nil)
		var ce *drivers.ConfigError
		if !errors.As(err, &ce) || ce.Key != tc.key || ce.Allowed == "" {
			t.Errorf("%s: error %v, want one for key %s that says what is allowed", name, err, tc.key)
		}
	}
}

func TestFrameConfiguration(t *testing.T) {
	t.Parallel()
	for key, cfg := range map[string]serialport.FrameConfig{
		"frame.kind": {Kind: "slip"},
		"frame.end":  {End: strings.Repeat("x", 9)},
		"frame.max":  {Max: 1 << 20},
	} {
		var ce *drivers.ConfigError
		if err := cfg.Validate(); !errors.As(err, &ce) || ce.Key != key {
			t.Errorf("error %v, want one for %s", err, key)
		}
	}
	if err := (serialport.FrameConfig{}).Validate(); err != nil {
		t.Error(err)
	}
}

// tree lays out a sysfs with two equal FTDI adapters, a board with two ports, an
// on-board UART, one that the machine does not have, and a console.
func tree(t *testing.T) serialport.Roots {
	t.Helper()
	root := t.TempDir()
	roots := serialport.Roots{Sys: filepath.Join(root, "sys"), Dev: filepath.Join(root, "dev")}
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	port := func(name, device string) {
		t.Helper()
		dir := filepath.Join(roots.Sys, "class", "tty", name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if device == "" {
			return
		}
		target := filepath.Join(roots.Sys, "devices", device)
		if err := os.MkdirAll(target, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(dir, "device")); err != nil {
			t.Fatal(err)
		}
		write(filepath.Join(roots.Dev, name), "")
	}
	usb := func(dir, vendor, product, serial, name string) {
		dir = filepath.Join(roots.Sys, "devices", dir)
		write(filepath.Join(dir, "idVendor"), vendor)
		write(filepath.Join(dir, "idProduct"), product)
		write(filepath.Join(dir, "product"), name)
		if serial != "" {
			write(filepath.Join(dir, "serial"), serial)
		}
	}
	usb("usb1/1-1", "0403", "6001", "A50285BI", "FT232R USB UART")
	usb("usb1/1-2", "0403", "6001", "A9\x1b[2J", "FT232R USB UART")
	usb("usb1/1-3", "1D50", "6018", "", "Two ports")
	for _, i := range []string{"usb1/1-1/1-1:1.0", "usb1/1-2/1-2:1.0", "usb1/1-3/1-3:1.0"} {
		write(filepath.Join(roots.Sys, "devices", i, "bInterfaceNumber"), "00")
	}
	write(filepath.Join(roots.Sys, "devices", "usb1/1-3/1-3:1.2/bInterfaceNumber"), "02")
	port("ttyUSB0", "usb1/1-1/1-1:1.0/ttyUSB0")
	port("ttyUSB1", "usb1/1-2/1-2:1.0/ttyUSB1")
	port("ttyACM0", "usb1/1-3/1-3:1.0")
	port("ttyACM1", "usb1/1-3/1-3:1.2")
	port("ttyAMA0", "platform/uart")
	port("ttyS3", "platform/serial8250")
	write(filepath.Join(roots.Sys, "class", "tty", "ttyS3", "type"), "0")
	port("tty1", "")
	link := filepath.Join(roots.Dev, "serial", "by-id", "usb-FTDI_FT232R_A50285BI-if00-port0")
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../ttyUSB0", link); err != nil {
		t.Fatal(err)
	}
	return roots
}

func TestListReadsSysfsOnly(t *testing.T) {
	t.Parallel()
	roots := tree(t)
	got, err := serialport.List(roots)
	if err != nil {
		t.Fatal(err)
	}
	dev := func(name string) string { return filepath.Join(roots.Dev, name) }
	want := []serialport.Info{
		{Path: dev("ttyACM0"), USB: "1d50:6018", Product: "Two ports"},
		{Path: dev("ttyACM1"), USB: "1d50:6018", Product: "Two ports", Interface: 2},
		{Path: dev("ttyAMA0")},
		{Path: dev("ttyUSB0"), USB: "0403:6001", Serial: "A50285BI", Product: "FT232R USB UART",
			ByID: dev("serial/by-id/usb-FTDI_FT232R_A50285BI-if00-port0")},
		{Path: dev("ttyUSB1"), USB: "0403:6001", Serial: "A9?[2J", Product: "FT232R USB UART"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestListWithoutSysfsIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := serialport.List(serialport.Roots{Sys: t.TempDir()}); err == nil {
		t.Error("no error")
	}
}

func TestIdentityIsResolvedAtEveryOpen(t *testing.T) {
	t.Parallel()
	roots := tree(t)
	two := uint8(2)
	resolve := func(cfg serialport.Config) (string, error) {
		p, err := serialport.New(cfg, serialport.LineConfig{}, roots, nil)
		if err != nil {
			t.Fatal(err)
		}
		return p.Resolve()
	}
	for want, cfg := range map[string]serialport.Config{
		"ttyUSB0": {USB: "0403:6001", Serial: "A50285BI"},
		"ttyACM1": {USB: "1D50:6018", Interface: &two},
	} {
		if got, err := resolve(cfg); err != nil || got != filepath.Join(roots.Dev, want) {
			t.Errorf("%v: %s, %v, want %s", cfg, got, err, want)
		}
	}
	for want, cfg := range map[string]serialport.Config{
		"serial A50285BI":   {USB: "0403:6001"},
		"several ports":     {USB: "1d50:6018"},
		"present: ":         {USB: "2341:0043"},
		"usb 0403:6001 ser": {USB: "0403:6001", Serial: "OTHER"},
	} {
		_, err := resolve(cfg)
		wantIs(t, err, drivers.ErrOffline)
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not contain %q", err, want)
		}
	}

	// The adapter comes back under another name.
	cfg := serialport.Config{USB: "0403:6001", Serial: "A50285BI"}
	class := filepath.Join(roots.Sys, "class", "tty")
	if err := os.Rename(filepath.Join(class, "ttyUSB0"), filepath.Join(class, "ttyUSB7")); err != nil {
		t.Fatal(err)
	}
	if got, err := resolve(cfg); err != nil || got != filepath.Join(roots.Dev, "ttyUSB7") {
		t.Errorf("after replug: %s, %v", got, err)
	}
}
