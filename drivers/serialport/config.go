package serialport

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"gantry/drivers"

	"go.bug.st/serial"
)

// Config says which port: either a path, or the identity of a USB adapter, which
// stays the same whatever name the kernel gives it today.
type Config struct {
	Path      string `toml:"path"`      // device node or a link to it
	USB       string `toml:"usb"`       // vendor and product, four hexadecimal digits each: "0403:6001"
	Serial    string `toml:"serial"`    // the adapter's serial number, to tell equal ones apart
	Interface *uint8 `toml:"interface"` // number of the interface, for adapters with several ports
}

// LineConfig is how the port is driven. The zero value of each field stands for
// its default.
type LineConfig struct {
	Baud uint32 `toml:"baud"` // bits per second; default 115200
	Mode string `toml:"mode"` // data bits 5-8, parity N E O M S, stop bits 1 or 2; default "8N1"
	DTR  *bool  `toml:"dtr"`  // level after opening; nil: as the kernel leaves it (on)
	RTS  *bool  `toml:"rts"`  // the same for RTS
}

// Defaults and bounds of a line.
const (
	DefaultBaud = 115200
	DefaultMode = "8N1"
	maxBaud     = 4_000_000
)

var (
	usbForm  = regexp.MustCompile(`^[0-9a-fA-F]{4}:[0-9a-fA-F]{4}$`)
	modeForm = regexp.MustCompile(`^[5-8][NEOMS][12]$`)
)

// Validate checks the port's keys. Errors are *drivers.ConfigError with keys
// below "port".
func (c Config) Validate() error {
	identity := c.USB != "" || c.Serial != "" || c.Interface != nil
	switch {
	case c.Path == "" && c.USB == "":
		return &drivers.ConfigError{Key: "port", Text: "names no port",
			Allowed: `path = "/dev/..." or usb = "VVVV:PPPP"` + " with serial and interface where needed"}
	case c.Path != "" && identity:
		return &drivers.ConfigError{Key: "port", Text: "has both a path and a USB identity", Allowed: "one of them"}
	case strings.ContainsRune(c.Path, 0):
		return &drivers.ConfigError{Key: "port.path", Text: "contains a NUL character", Allowed: "a path such as /dev/ttyUSB0"}
	case c.USB != "" && !usbForm.MatchString(c.USB):
		return &drivers.ConfigError{Key: "port.usb", Text: fmt.Sprintf("%.40q is not a USB identity", c.USB),
			Allowed: `vendor and product in hexadecimal: "0403:6001"`}
	}
	return nil
}

// String names the port as configured, for messages.
func (c Config) String() string {
	if c.Path != "" {
		return c.Path
	}
	s := "usb " + strings.ToLower(c.USB)
	if c.Serial != "" {
		s += " serial " + c.Serial
	}
	if c.Interface != nil {
		s += " interface " + strconv.Itoa(int(*c.Interface))
	}
	return s
}

// Validate checks the line's keys. Errors are *drivers.ConfigError with keys
// below "line".
func (c LineConfig) Validate() error {
	_, err := c.mode()
	return err
}

// Parity reports whether bytes have a parity bit, in a valid configuration. Then the
// kernel gives NUL in the place of each byte whose parity is wrong (termios(3), INPCK
// without IGNPAR and PARMRK).
func (c LineConfig) Parity() bool { return c.Mode != "" && !strings.EqualFold(c.Mode[1:2], "N") }

var parities = map[byte]serial.Parity{
	'N': serial.NoParity, 'E': serial.EvenParity, 'O': serial.OddParity,
	'M': serial.MarkParity, 'S': serial.SpaceParity,
}

func (c LineConfig) mode() (*serial.Mode, error) {
	if c.Baud == 0 {
		c.Baud = DefaultBaud
	}
	if c.Baud < 50 || c.Baud > maxBaud {
		return nil, &drivers.ConfigError{Key: "line.baud", Text: fmt.Sprintf("%d is out of range", c.Baud),
			Allowed: fmt.Sprintf("50 to %d", maxBaud)}
	}
	text := strings.ToUpper(c.Mode)
	if text == "" {
		text = DefaultMode
	}
	if !modeForm.MatchString(text) {
		return nil, &drivers.ConfigError{Key: "line.mode", Text: fmt.Sprintf("%.20q is not a mode", c.Mode),
			Allowed: `data bits 5-8, parity N E O M S, stop bits 1 or 2: "8N1", "8E1", "7E1", "8N2"`}
	}
	m := &serial.Mode{BaudRate: int(c.Baud), DataBits: int(text[0] - '0'), Parity: parities[text[1]]}
	if text[2] == '2' {
		m.StopBits = serial.TwoStopBits
	}
	return m, nil
}
