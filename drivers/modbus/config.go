package modbus

import (
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/tcp"
	"gantry/drivers/serialport"
)

// Config is the driver's part of a device's table: one unit, and the bus that it
// is on. Exactly one of Port and TCP is set. Devices that name the same port or
// address share the bus.
type Config struct {
	UnitID *uint8                `toml:"unit_id"` // 1 to 247, 0 = all on a serial line; over TCP 0 to 255; default 1
	Port   serialport.Config     `toml:"port"`    // Modbus RTU
	Line   serialport.LineConfig `toml:"line"`    // baud 9600, mode 8N1 unless said, or the profile's
	TCP    TCPConfig             `toml:"tcp"`     // Modbus TCP, or RTU over TCP
	Bus    BusConfig             `toml:"bus"`

	AnswerTimeout drivers.Duration `toml:"answer_timeout"` // until an answer begins; default 300ms, over TCP 1s
	Retries       *uint8           `toml:"retries"`        // how often a read is asked again; default 1, at most 5
	LostAfter     uint8            `toml:"lost_after"`     // requests in a row without an answer; default 3

	Profile string   `toml:"profile"` // name of a shipped description of points
	Select  []string `toml:"select"`  // the profile's points that are wanted; default: all
	Base    uint16   `toml:"base"`    // added to all addresses; default: the profile's

	Read   ReadConfig             `toml:"read"`
	Points map[string]PointConfig `toml:"point"`
	Proxy  *ProxyConfig           `toml:"proxy"`
}

// TCPConfig says where a Modbus TCP server is.
type TCPConfig struct {
	Address string `toml:"address"` // host:port, or host with port 502
	Framing string `toml:"framing"` // tcp (default), or rtu for serial servers that pass RTU frames on
	// Idle is after how long without a request the connection is closed, for servers
	// that take one client only; 0 = never.
	Idle drivers.Duration `toml:"idle"`
}

// BusConfig says how a line is treated. It is the same for all devices on it.
type BusConfig struct {
	Gap        drivers.Duration `toml:"gap"`        // least silence between frames; default 3.5 characters
	Turnaround drivers.Duration `toml:"turnaround"` // silence after a broadcast; default 100ms
	Echo       bool             `toml:"echo"`       // the adapter hears what it sends
}

// ReadConfig says which reads the unit takes. The zero value of each field stands
// for the profile's, and that for the default.
type ReadConfig struct {
	MaxRegisters uint16       `toml:"max_registers"` // most in one read; default 125
	MaxBits      uint16       `toml:"max_bits"`      // most in one read; default 2000
	MaxGap       *uint16      `toml:"max_gap"`       // unwanted registers or bits read along; default 8
	Holes        []HoleConfig `toml:"holes"`         // never read along
}

// HoleConfig is a run of addresses, both ends included.
type HoleConfig struct {
	Table string `toml:"table"` // coil, discrete, holding, input
	From  uint16 `toml:"from"`
	To    uint16 `toml:"to"`
}

// PointConfig is the driver's part of a point's table.
type PointConfig struct {
	Table    string  `toml:"table"`    // coil, discrete, holding (default), input
	Address  *uint16 `toml:"address"`  // as on the wire, the first one is 0
	Type     string  `toml:"type"`     // see formNames; default u16, bool for coils and discrete inputs
	Order    string  `toml:"order"`    // bytes as they come, "a" most significant: abcd (default), cdab, badc, dcba, ...
	Length   uint16  `toml:"length"`   // registers of text and bytes
	Bit      *uint8  `toml:"bit"`      // lowest bit of a part, 0 = least significant
	Bits     uint8   `toml:"bits"`     // width of the part; default with bit: 1, which makes a bool
	Absent   *int64  `toml:"absent"`   // bits that stand for no value
	Exponent *uint16 `toml:"exponent"` // address of a register with a power of ten, signed, as in SunSpec
	Write    string  `toml:"write"`    // single, multiple, readback, mask, modify; "" = not written
}

// ProxyConfig is a port where other programs use the bus by Modbus TCP.
type ProxyConfig struct {
	Listen         string `toml:"listen"`          // host:port; without host 127.0.0.1
	ReadOnly       bool   `toml:"read_only"`       // refuses all that could change something
	MaxConnections uint8  `toml:"max_connections"` // default 4, at most 64
}

// Defaults and bounds.
const (
	defaultSerialTimeout = 300 * time.Millisecond
	defaultTCPTimeout    = time.Second
	minTimeout           = time.Millisecond
	maxTimeout           = time.Minute
	defaultTurnaround    = 100 * time.Millisecond
	maxPause             = 5 * time.Second
	defaultRetries       = 1
	maxRetries           = 5
	defaultLost          = 3
	defaultGap           = 8
	defaultBaud          = 9600
	defaultUnit          = 1
	maxSerialUnit        = 247
	defaultConnections   = 4
	maxConnections       = 64
)

func bad(key, allowed, format string, args ...any) error {
	return &drivers.ConfigError{Key: key, Text: fmt.Sprintf(format, args...), Allowed: allowed}
}

// busConfig is what must be the same for all devices on a bus.
type busConfig struct {
	address string // of TCP; "" = serial
	rtu     bool   // RTU frames over TCP
	port    serialport.Config
	line    serialport.LineConfig

	gap, turnaround time.Duration
	echo            bool
	idle            time.Duration
}

// serial reports whether there are RTU frames on the bus.
func (c *busConfig) serial() bool { return c.address == "" || c.rtu }

// name names the bus for people.
func (c *busConfig) name() string {
	if c.address != "" {
		return c.address
	}
	return c.port.String()
}

// key is the same for devices that share a bus.
func (c *busConfig) key() string {
	if c.address != "" {
		return fmt.Sprintf("tcp %s %v", c.address, c.rtu)
	}
	return "serial " + c.port.String()
}

// differs names the first setting of which the other has another value; "" if all
// are the same.
func (c *busConfig) differs(o busConfig) string {
	level := func(p *bool) string {
		if p == nil {
			return ""
		}
		return strconv.FormatBool(*p)
	}
	for _, d := range []struct {
		what string
		is   bool
	}{
		{"line.baud", c.line.Baud != o.line.Baud}, {"line.mode", c.line.Mode != o.line.Mode},
		{"line.dtr", level(c.line.DTR) != level(o.line.DTR)}, {"line.rts", level(c.line.RTS) != level(o.line.RTS)},
		{"bus.gap", c.gap != o.gap}, {"bus.turnaround", c.turnaround != o.turnaround}, {"bus.echo", c.echo != o.echo}, {"tcp.idle", c.idle != o.idle},
	} {
		if d.is {
			return d.what
		}
	}
	return ""
}

// agree reports devices that treat a bus in another way than an earlier one, by
// name, or that open the same port for a proxy. All are in order by themselves.
func agree(devices map[string]any, decode Decoder) map[string]error {
	wrong := map[string]error{}
	buses, proxies := map[string]string{}, map[string]string{} // who has it first
	first := map[string]busConfig{}
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		c := devices[name].(*Config)
		profile := &Profile{}
		if c.Profile != "" {
			// It has been loaded before.
			profile, _ = LoadProfile(c.Profile, decode)
		}
		b, err := c.bus(profile.Line)
		if err != nil {
			wrong[name] = err
			continue
		}
		key := b.key()
		if owner, taken := buses[key]; !taken {
			buses[key], first[key] = name, b
		} else if diff := b.differs(first[key]); diff != "" {
			wrong[name] = bad(diff, "what device "+owner+" has", "differs from that of device %s on the same bus", owner)
			continue
		}
		if c.Proxy == nil {
			continue
		}
		if owner, taken := proxies[c.Proxy.Listen]; taken {
			wrong[name] = bad("proxy.listen", "an address of its own, or one proxy for each bus", "is that of device %s", owner)
			continue
		}
		proxies[c.Proxy.Listen] = name
	}
	return wrong
}

var withPort = regexp.MustCompile(`:[0-9]+$`)

// bus returns the bus that the configuration names; factory is how the device's
// line is set when it is new.
func (c *Config) bus(factory serialport.LineConfig) (b busConfig, err error) {
	b.gap, b.turnaround, b.echo, b.idle = c.Bus.Gap.Std(), c.Bus.Turnaround.Std(), c.Bus.Echo, c.TCP.Idle.Std()
	if b.turnaround == 0 {
		b.turnaround = defaultTurnaround
	}
	if b.gap > maxPause {
		return b, bad("bus.gap", "0s to "+maxPause.String(), "is %s", b.gap)
	}
	if b.turnaround > maxPause {
		return b, bad("bus.turnaround", "0s to "+maxPause.String(), "is %s", b.turnaround)
	}
	serial := c.Port != serialport.Config{}
	switch {
	case c.TCP.Address == "" && c.TCP != TCPConfig{}:
		return b, bad("tcp.address", `host:port, such as "192.0.2.7:502"`, "is missing")
	case serial == (c.TCP.Address != ""):
		return b, bad("port", "port for a serial line, or tcp.address", "exactly one of port and tcp must be there")
	case serial:
		b.port, b.line = c.Port, c.Line
		if b.line.Baud == 0 {
			b.line.Baud = factory.Baud
		}
		if b.line.Mode == "" {
			b.line.Mode = factory.Mode
		}
		if b.line.Baud == 0 {
			b.line.Baud = defaultBaud
		}
		_, err = serialport.New(b.port, b.line, serialport.Roots{}, nil)
		return b, err
	case c.Line != serialport.LineConfig{}:
		return b, bad("line", "only with port", "does not apply to TCP")
	}
	if b.address = c.TCP.Address; !withPort.MatchString(b.address) {
		b.address = net.JoinHostPort(b.address, "502")
	}
	if !tcp.IsAddress(b.address) {
		return b, bad("tcp.address", `host:port, such as "192.0.2.7:502"`, "%.80q is no address", c.TCP.Address)
	}
	switch c.TCP.Framing {
	case "", "tcp":
	case "rtu":
		b.rtu = true
	default:
		return b, bad("tcp.framing", "tcp, rtu", "%.20q is unknown", c.TCP.Framing)
	}
	return b, nil
}

// plain is a configuration that has been checked and made ready for use.
type plain struct {
	bus      busConfig
	unit     byte
	timeout  time.Duration
	retries  int
	lost     int
	limits   limits
	points   []*point // sorted by id
	proxy    *proxyPlan
	describe string // what the device is, for people
}

// toAll reports whether what is written goes to all units of a serial line, of
// which none answers. Over TCP, unit 0 is the server itself.
func (p *plain) toAll() bool { return p.unit == broadcast && p.bus.serial() }

// prepare checks the configuration with the profile laid under it; p is empty
// without one.
func (c *Config) prepare(p *Profile) (*plain, error) {
	b, err := c.bus(p.Line)
	if err != nil {
		return nil, err
	}
	out := &plain{bus: b, describe: p.Description}
	if err := out.manners(c, p); err != nil {
		return nil, err
	}
	if out.limits, err = newLimits(c.Read, p.Read); err != nil {
		return nil, err
	}
	base := c.Base
	if base == 0 {
		base = p.Base
	}
	all, err := c.merge(p)
	if err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		pt, err := newPoint(id, all[id], base, &out.limits)
		if err != nil {
			return nil, err
		}
		out.points = append(out.points, pt)
	}
	if c.Proxy != nil {
		if out.proxy, err = c.Proxy.plan(); err == nil {
			out.proxy.timeout = out.timeout
		}
	}
	return out, err
}

// manners checks how the unit is asked.
func (p *plain) manners(c *Config, profile *Profile) error {
	p.unit = defaultUnit
	if profile.UnitID != nil {
		p.unit = *profile.UnitID
	}
	if c.UnitID != nil {
		p.unit = *c.UnitID
	}
	if p.bus.serial() && p.unit > maxSerialUnit {
		return bad("unit_id", "1 to 247, or 0 to write to all units on the line", "%d is out of range", p.unit)
	}
	p.timeout = c.AnswerTimeout.Std()
	if p.timeout == 0 {
		p.timeout = profile.AnswerTimeout.Std()
	}
	if p.timeout == 0 {
		p.timeout = defaultSerialTimeout
		if p.bus.address != "" {
			p.timeout = defaultTCPTimeout
		}
	}
	if p.timeout < minTimeout || p.timeout > maxTimeout {
		return bad("answer_timeout", minTimeout.String()+" to "+maxTimeout.String(), "is %s", p.timeout)
	}
	p.retries, p.lost = defaultRetries, defaultLost
	if c.Retries != nil {
		p.retries = int(*c.Retries)
	}
	if p.retries > maxRetries {
		return bad("retries", fmt.Sprintf("0 to %d", maxRetries), "is %d", p.retries)
	}
	if c.LostAfter != 0 {
		p.lost = int(c.LostAfter)
	}
	return nil
}

// newLimits lays the configuration over the profile.
func newLimits(c, p ReadConfig) (limits, error) {
	or := func(a, b, def uint16) int {
		if a == 0 {
			a = b
		}
		if a == 0 {
			a = def
		}
		return int(a)
	}
	l := limits{regs: or(c.MaxRegisters, p.MaxRegisters, maxReadRegs), bits: or(c.MaxBits, p.MaxBits, maxReadBits), gap: defaultGap}
	if l.regs > maxReadRegs {
		return l, bad("read.max_registers", fmt.Sprintf("1 to %d", maxReadRegs), "is %d", l.regs)
	}
	if l.bits > maxReadBits {
		return l, bad("read.max_bits", fmt.Sprintf("1 to %d", maxReadBits), "is %d", l.bits)
	}
	for _, g := range []*uint16{p.MaxGap, c.MaxGap} {
		if g != nil {
			l.gap = int(*g)
		}
	}
	for i, h := range slices.Concat(c.Holes, p.Holes) {
		key := fmt.Sprintf("read.holes.%d", i)
		t, ok := parseTable(h.Table)
		if !ok {
			return l, bad(key+".table", "coil, discrete, holding, input", "%.20q is unknown", h.Table)
		}
		if h.From > h.To {
			return l, bad(key+".from", fmt.Sprintf("at most to (%d)", h.To), "is %d", h.From)
		}
		l.holes = append(l.holes, span{t, int(h.From), int(h.To) - int(h.From) + 1})
	}
	return l, nil
}

// merge returns the profile's points that are wanted, and the configuration's own.
// A table without an address changes what the hub makes of a profile's point.
func (c *Config) merge(p *Profile) (map[string]ProfilePoint, error) {
	all := map[string]ProfilePoint{}
	if len(c.Select) == 0 {
		maps.Copy(all, p.Points)
	}
	for _, id := range c.Select {
		pt, ok := p.Points[id]
		if !ok {
			return nil, bad("select", "points of the profile: "+names(p.Points), "%.64q is none of profile %q", id, c.Profile)
		}
		all[id] = pt
	}
	for _, id := range slices.Sorted(maps.Keys(c.Points)) {
		own := c.Points[id]
		known, ok := all[id]
		switch {
		case own.Address != nil:
			all[id] = ProfilePoint{PointConfig: own}
		case !ok:
			return nil, bad("point."+id+".address", "0 to 65535, as on the wire", "is missing")
		case own != PointConfig{Write: own.Write}:
			return nil, bad("point."+id, "address with the keys of a point of your own, or only write and keys of the hub", "is a point of profile %q", c.Profile)
		case own.Write != "":
			known.Write = own.Write
			all[id] = known
		}
	}
	return all, nil
}

// names joins the keys of m, sorted.
func names[V any](m map[string]V) string {
	s := ""
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			s += ", "
		}
		s += k
	}
	return s
}
