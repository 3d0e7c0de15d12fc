package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gantry/drivers"
	"gantry/drivers/modbus"
	"gantry/drivers/serialport"
	"gantry/internal/config"
)

const modbusHelp = `
The bus is a serial port, --port or --usb with --baud and --mode, or an address,
--tcp for Modbus TCP and --rtu-tcp for serial servers that pass RTU frames on. A
port that a running gateway uses is taken; the [device.NAME.proxy] of a device
shares it by --tcp.

Exit codes: 0 done, 1 no answer, refused or failed, 2 wrong usage, 130 interrupted.`

func (a *app) modbusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "modbus",
		Short: "Find, read and write Modbus units, without a running gateway",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("modbus needs a subcommand: scan, read, write, profiles")}
		},
	}
	cmd.AddCommand(a.modbusScanCommand(), a.modbusReadCommand(), a.modbusWriteCommand(), a.modbusProfilesCommand())
	return cmd
}

// busFlags are the flags that name a bus and how it is used.
type busFlags struct {
	port, usb, serial, tcp, rtuTCP string
	bauds                          []uint
	mode                           string
	timeout                        time.Duration
	echo                           bool
	unit                           uint8
}

func (f *busFlags) add(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVar(&f.port, "port", "", "device node of a serial port: /dev/ttyUSB0")
	s.StringVar(&f.usb, "usb", "", "vendor:product of a USB adapter: 1a86:7523")
	s.StringVar(&f.serial, "serial", "", "serial number of the USB adapter")
	s.StringVar(&f.tcp, "tcp", "", "address of a Modbus TCP server: HOST or HOST:PORT (502)")
	s.StringVar(&f.rtuTCP, "rtu-tcp", "", "address of a server of RTU frames: HOST:PORT")
	s.UintSliceVar(&f.bauds, "baud", nil, "bits per second of the serial port; default 9600, or the profile's")
	s.StringVar(&f.mode, "mode", "", "data bits, parity, stop bits of the serial port; default 8N1, or the profile's")
	s.DurationVar(&f.timeout, "answer-timeout", 0, "wait for an answer; default 300ms, over TCP 1s")
	s.BoolVar(&f.echo, "echo", false, "the adapter hears what it sends")
}

// addUnit adds the flag for one unit.
func (f *busFlags) addUnit(cmd *cobra.Command) {
	cmd.Flags().Uint8VarP(&f.unit, "unit-id", "u", 0, "the unit; default 1, or the profile's")
}

// config returns the driver's configuration for the n-th speed.
func (f *busFlags) config(n int) modbus.Config {
	c := modbus.Config{
		Port: serialport.Config{Path: f.port, USB: f.usb, Serial: f.serial},
		Line: serialport.LineConfig{Mode: f.mode}, TCP: modbus.TCPConfig{Address: f.tcp},
		Bus: modbus.BusConfig{Echo: f.echo}, AnswerTimeout: drivers.Duration(f.timeout),
	}
	if n < len(f.bauds) {
		c.Line.Baud = uint32(f.bauds[n])
	}
	if f.rtuTCP != "" {
		c.TCP = modbus.TCPConfig{Address: f.rtuTCP, Framing: "rtu"}
	}
	if f.unit != 0 {
		c.UnitID = &f.unit
	}
	return c
}

func (f *busFlags) check() error {
	named := 0
	for _, s := range []string{f.port, f.usb, f.tcp, f.rtuTCP} {
		if s != "" {
			named++
		}
	}
	if named != 1 {
		return usageError{errors.New("exactly one of --port, --usb, --tcp and --rtu-tcp names the bus")}
	}
	return nil
}

// asUsage makes a usage error of what the driver says about its configuration,
// which comes from flags here.
func asUsage(err error) error {
	var c *drivers.ConfigError
	if errors.As(err, &c) {
		return usageError{fmt.Errorf("%s: %s; allowed: %s", flagOf(c.Key), c.Text, c.Allowed)}
	}
	return err
}

// flagOf names the flag or argument behind a key of the configuration.
func flagOf(key string) string {
	if i := strings.LastIndexByte(key, '.'); i >= 0 {
		key = key[i+1:]
	}
	switch key {
	case "write":
		return "--how"
	case "table", "address":
		return strings.ToUpper(key)
	case "path":
		return "--port"
	}
	return "--" + strings.ReplaceAll(key, "_", "-")
}

// withUnit runs f against the unit that cfg names.
func withUnit(ctx context.Context, cfg modbus.Config, f func(ctx context.Context, d *modbus.Driver) error) error {
	d, err := modbus.New(cfg, drivers.Env{Device: "this command"}, modbus.NewBuses(), config.Decode)
	if err != nil {
		return asUsage(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	up := make(unitLink)
	done := make(chan error, 1) // Run's result; its only sender never blocks
	go func() { done <- d.Run(ctx, up) }()
	select {
	case err := <-done:
		if err == nil {
			err = context.Cause(ctx)
		}
		return err
	case <-up:
	}
	err = f(ctx, d)
	cancel()
	<-done
	return err
}

// unitLink is closed when the unit answers. The command's own requests tell what
// else happens.
type unitLink chan struct{}

func (l unitLink) Up()                    { close(l) }
func (l unitLink) Emit(drivers.Reading)   {}
func (l unitLink) Garbage(string, []byte) {}

// pointFlags are the flags that describe a value.
type pointFlags struct {
	typ, order, how string
	length          uint16
	bit             int8
	bits            uint8
}

func (f *pointFlags) add(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVarP(&f.typ, "type", "t", "", "u16 (default) i16 u32 i32 u64 i64 f32 f64 bcd16 bcd32 bcd64 bool text bytes")
	s.StringVar(&f.order, "order", "", "bytes as they come, a most significant: abcd (default), cdab, badc, dcba, ...")
	s.Uint16Var(&f.length, "length", 0, "registers of text and bytes")
	s.Int8Var(&f.bit, "bit", -1, "lowest bit of a part of the register")
	s.Uint8Var(&f.bits, "bits", 0, "width of the part; default with --bit: 1")
}

// point returns a point at the address.
func (f *pointFlags) point(table string, address uint16) modbus.PointConfig {
	p := modbus.PointConfig{Table: table, Address: &address, Type: f.typ, Order: f.order, Length: f.length, Bits: f.bits, Write: f.how}
	if f.bit >= 0 {
		bit := uint8(f.bit)
		p.Bit = &bit
	}
	return p
}

// step returns how far apart two values of the type are; 1 for one that is unknown,
// which the driver refuses.
func (f *pointFlags) step(table string) uint16 {
	if f.typ == "" || table == "coil" || table == "discrete" {
		return 1
	}
	n, ok := modbus.TypeRegisters(f.typ)
	if ok && n == 0 {
		n = f.length
	}
	return max(n, 1)
}

// parseAddress reads an address as it is on the wire, decimal or 0x....
func parseAddress(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 0, 16)
	if err != nil {
		return 0, usageError{fmt.Errorf("ADDRESS: %.20q is none; allowed: 0 to 65535, as on the wire: register 40001 is holding 0", s)}
	}
	return uint16(n), nil
}

// parseUnits reads "1-10,20".
func parseUnits(s string) (units []uint8, err error) {
	for _, part := range strings.Split(s, ",") {
		from, to, many := strings.Cut(part, "-")
		if !many {
			to = from
		}
		a, err1 := strconv.ParseUint(from, 10, 8)
		b, err2 := strconv.ParseUint(to, 10, 8)
		if err1 != nil || err2 != nil || a < 1 || a > b {
			return nil, usageError{fmt.Errorf("--units: %.20q is no range; allowed: numbers from 1 to 247, over TCP 255: 1-10,20", part)}
		}
		for u := a; u <= b; u++ {
			units = append(units, uint8(u))
		}
	}
	return units, nil
}
