package serialport

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Roots are the folders in which the kernel shows its devices. Empty fields stand
// for the real ones; tests give others.
type Roots struct {
	Sys  string // default /sys
	Dev  string // default /dev
	Proc string // default /proc
}

func (r Roots) withDefaults() Roots {
	if r.Sys == "" {
		r.Sys = "/sys"
	}
	if r.Dev == "" {
		r.Dev = "/dev"
	}
	if r.Proc == "" {
		r.Proc = "/proc"
	}
	return r
}

// Info describes a serial port that is present.
type Info struct {
	Path      string // device node: /dev/ttyUSB0
	ByID      string // link that keeps its name: /dev/serial/by-id/..., "" if there is none
	USB       string // vendor and product of the adapter, "" if it is no USB device
	Serial    string // serial number of the adapter, may be ""
	Interface uint8  // number of the USB interface
	Product   string // what the adapter calls itself, may be ""
}

// String returns one line for an operator.
func (i Info) String() string {
	if i.USB == "" {
		return i.Path
	}
	s := i.Path + " (usb " + i.USB
	if i.Serial != "" {
		s += " serial " + i.Serial
	}
	if i.Interface != 0 {
		s += " interface " + strconv.Itoa(int(i.Interface))
	}
	if i.Product != "" {
		s += ", " + i.Product
	}
	return s + ")"
}

// List returns the serial ports that are present, sorted by path, without opening
// any. Pseudo terminals are not listed; they can be opened by path.
// Source: Linux Documentation/ABI/stable/sysfs-bus-usb, sysfs-tty.
func List(roots Roots) ([]Info, error) {
	roots = roots.withDefaults()
	class := filepath.Join(roots.Sys, "class", "tty")
	entries, err := os.ReadDir(class)
	if err != nil {
		return nil, fmt.Errorf("list serial ports: %w", err)
	}
	links := byID(roots.Dev)
	var found []Info
	for _, e := range entries {
		tty := filepath.Join(class, e.Name())
		// Consoles and pseudo terminals have no device behind them.
		device, err := filepath.EvalSymlinks(filepath.Join(tty, "device"))
		if err != nil {
			continue
		}
		// The 8250 driver offers ports that the machine may not have: type 0 is
		// "no chip found".
		if attribute(tty, "type") == "0" {
			continue
		}
		info := Info{Path: filepath.Join(roots.Dev, e.Name())}
		info.ByID = links[info.Path]
		info.identify(device, roots.Sys)
		found = append(found, info)
	}
	slices.SortFunc(found, func(a, b Info) int { return strings.Compare(a.Path, b.Path) })
	return found, nil
}

// identify walks from the port's device up to the USB device that carries it.
func (i *Info) identify(device, sys string) {
	sys, err := filepath.EvalSymlinks(sys)
	if err != nil {
		return
	}
	for dir := device; len(dir) > len(sys) && strings.HasPrefix(dir, sys); dir = filepath.Dir(dir) {
		if n, err := strconv.ParseUint(attribute(dir, "bInterfaceNumber"), 16, 8); err == nil {
			i.Interface = uint8(n)
		}
		vendor, product := attribute(dir, "idVendor"), attribute(dir, "idProduct")
		if vendor == "" || product == "" {
			continue
		}
		i.USB = strings.ToLower(vendor + ":" + product)
		i.Serial = attribute(dir, "serial")
		i.Product = attribute(dir, "product")
		return
	}
}

// attribute reads a sysfs file of one short line; "" if there is none. The text
// comes from the device: what does not print is replaced.
func attribute(dir, name string) string {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	defer f.Close()
	buf := make([]byte, 256)
	n, err := f.Read(buf)
	if err != nil {
		return ""
	}
	return printable(strings.TrimSpace(string(buf[:n])))
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// byID returns the stable links of udev by the node that they lead to. The folder
// is absent until the first adapter is plugged in.
func byID(dev string) map[string]string {
	dir := filepath.Join(dev, "serial", "by-id")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	links := make(map[string]string, len(entries))
	for _, e := range entries {
		link := filepath.Join(dir, e.Name())
		to, err := os.Readlink(link)
		if err != nil {
			continue
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(dir, to)
		}
		links[to] = link
	}
	return links
}

// matches reports whether i is the adapter that c describes.
func (c Config) matches(i Info) bool {
	return strings.EqualFold(c.USB, i.USB) &&
		(c.Serial == "" || c.Serial == i.Serial) &&
		(c.Interface == nil || *c.Interface == i.Interface)
}
