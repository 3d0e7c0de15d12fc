package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"gantry/drivers"
	"gantry/drivers/modbus"
	"gantry/internal/config"
	"gantry/wamp"
)

func (a *app) modbusScanCommand() *cobra.Command {
	var (
		bus    busFlags
		units  string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "scan",
		Short: "Find the units on a bus",
		Long: `Asks unit after unit for holding register 0 and prints those that answer, be it by
an exception, with their identification (function 43/14) where they have one. With
several speeds in --baud it does so at each. Nothing is written.

An absent unit costs the time of --answer-timeout: all 247 at the default take 75 s
at each speed. Interrupt it whenever you have seen enough.

With --json each unit is one line: {"unit_id": ..., "baud": ..., "answer": ...,
"vendor": ..., "product": ..., "version": ...}.
` + modbusHelp,
		Example: `  gantry modbus scan --port /dev/ttyUSB0 --baud 9600,19200 --units 1-20
  gantry modbus scan --tcp 192.0.2.7`,
		Args: cobra.NoArgs,
	}
	bus.add(cmd)
	cmd.Flags().StringVar(&units, "units", "1-247", "which units: 1-10,20")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print units as JSON, one per line")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		list, err := parseUnits(units)
		if err == nil {
			err = bus.check()
		}
		if err != nil {
			return err
		}
		s := scan{a: a, asJSON: asJSON}
		for n := range max(1, len(bus.bauds)) {
			cfg := bus.config(n)
			s.baud = cfg.Line.Baud
			if err := modbus.Scan(cmd.Context(), cfg, list, s.found, nil); err != nil {
				return asUsage(err)
			}
			if s.err != nil {
				return s.err
			}
		}
		if s.n == 0 {
			return errors.New("no unit answers; check the address, A and B, speed, parity and termination")
		}
		return nil
	}
	return cmd
}

// scan prints what is found.
type scan struct {
	a      *app
	asJSON bool
	baud   uint32 // 0 = the default, or TCP
	n      int
	err    error // of the first output that failed
}

func (s *scan) found(f modbus.Found) {
	s.n++
	if s.asJSON {
		d := wamp.Dict{"unit_id": int64(f.UnitID), "answer": f.Answer}
		for k, v := range map[string]string{"vendor": f.Vendor, "product": f.Product, "version": f.Version} {
			if v != "" {
				d[k] = strings.ToValidUTF8(v, "\uFFFD")
			}
		}
		if s.baud != 0 {
			d["baud"] = int64(s.baud)
		}
		s.keep(s.a.writeJSON(d))
		return
	}
	// Lines come as units are found, so the columns have fixed widths.
	if s.n == 1 {
		_, err := fmt.Fprintf(s.a.out, "%-7s %-7s %-22s %s\n", "UNIT", "BAUD", "ANSWER", "IDENTIFICATION")
		s.keep(err)
	}
	baud := "-"
	if s.baud != 0 {
		baud = strconv.FormatUint(uint64(s.baud), 10)
	}
	_, err := fmt.Fprintf(s.a.out, "%-7d %-7s %-22s %s\n", f.UnitID, baud, f.Answer, strings.TrimSpace(clean(f.Vendor+" "+f.Product+" "+f.Version)))
	s.keep(err)
}

func (s *scan) keep(err error) {
	if s.err == nil {
		s.err = err
	}
}

func (a *app) modbusReadCommand() *cobra.Command {
	var (
		bus     busFlags
		value   pointFlags
		profile string
		base    uint16
		asJSON  bool
	)
	cmd := &cobra.Command{
		Use:   "read TABLE ADDRESS [COUNT] | read --profile NAME [POINT...]",
		Short: "Read values of a unit",
		Long: `Reads COUNT values, default 1, from ADDRESS of TABLE on and prints them. TABLE is
coil, discrete, holding or input. ADDRESS is as on the wire, where the first one is
0: what a manual calls 40001 is holding 0, 30053 is input 52.

With --profile it reads the points of a shipped description, all or those named;
gantry modbus profiles lists them.

With --json each value is one line: {"point": ..., "value": ..., "unit": ...,
"q": ..., "why": ...}.
` + modbusHelp,
		Example: `  gantry modbus read --port /dev/ttyUSB0 --baud 19200 --unit-id 3 input 0 4 --type f32
  gantry modbus read --tcp 192.0.2.7 holding 40 --type i32 --order cdab
  gantry modbus read --usb 1a86:7523 --profile eastron_sdm630 power energy_import`,
		Args: cobra.ArbitraryArgs,
	}
	bus.add(cmd)
	bus.addUnit(cmd)
	value.add(cmd)
	cmd.Flags().StringVar(&profile, "profile", "", "name of a shipped description of points")
	cmd.Flags().Uint16Var(&base, "base", 0, "added to all addresses; default the profile's")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print values as JSON, one per line")
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		if err := bus.check(); err != nil {
			return err
		}
		cfg := bus.config(0)
		cfg.Profile, cfg.Base = profile, base
		names := words
		if profile != "" {
			cfg.Select = words
		} else {
			var err error
			if names, cfg.Points, err = value.span(words); err != nil {
				return err
			}
		}
		return withUnit(cmd.Context(), cfg, func(ctx context.Context, d *modbus.Driver) error {
			desc := d.Describe().Points
			if len(names) == 0 {
				for _, p := range desc {
					names = append(names, p.ID)
				}
			}
			readings, err := d.Read(ctx, names)
			if err != nil {
				return err
			}
			return a.printReadings(desc, readings, asJSON)
		})
	}
	return cmd
}

// span returns points for the words TABLE ADDRESS [COUNT], and their names in
// order.
func (f *pointFlags) span(words []string) ([]string, map[string]modbus.PointConfig, error) {
	if len(words) < 2 || len(words) > 3 {
		return nil, nil, usageError{errors.New("read takes TABLE ADDRESS [COUNT], or --profile")}
	}
	at, err := parseAddress(words[1])
	if err != nil {
		return nil, nil, err
	}
	count := uint64(1)
	if len(words) == 3 {
		if count, err = strconv.ParseUint(words[2], 10, 16); err != nil || count < 1 || count > 4096 {
			return nil, nil, usageError{fmt.Errorf("COUNT: %.20q is none; allowed: 1 to 4096", words[2])}
		}
	}
	step := f.step(words[0])
	var names []string
	points := map[string]modbus.PointConfig{}
	for i := range uint64(count) {
		address := uint64(at) + i*uint64(step)
		if address > 0xFFFF {
			return nil, nil, usageError{fmt.Errorf("COUNT: value %d would be at %d; the last address is 65535", i+1, address)}
		}
		name := fmt.Sprintf("%s_%d", words[0], address)
		names = append(names, name)
		points[name] = f.point(words[0], uint16(address))
	}
	return names, points, nil
}

// printReadings shows readings, scaled as the points say; it fails if none has a
// value.
func (a *app) printReadings(desc []drivers.Point, readings []drivers.Reading, asJSON bool) error {
	points := map[string]drivers.Point{}
	for _, p := range desc {
		points[p.ID] = p
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	if !asJSON {
		fmt.Fprintln(w, "POINT\tVALUE\tUNIT\tQUALITY")
	}
	good := 0
	for _, r := range readings {
		p := points[r.Point]
		value := scaled(p, r.Value)
		if r.Quality == drivers.Good {
			good++
		}
		if asJSON {
			d := wamp.Dict{"point": r.Point, "value": value, "q": r.Quality.String()}
			if p.Unit != "" {
				d["unit"] = p.Unit
			}
			if r.Why != "" {
				d["why"] = r.Why
			}
			if err := a.writeJSON(d); err != nil {
				return err
			}
			continue
		}
		shown := "-"
		if value != nil {
			shown = text(value)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Point, shown, p.Unit, strings.TrimSuffix(r.Quality.String()+": "+r.Why, ": "))
	}
	if !asJSON {
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if good == 0 {
		return errSilent
	}
	return nil
}

// scaled returns a value as a gateway would publish it, rounded to what a person
// reads.
func scaled(p drivers.Point, v drivers.Value) any {
	if p.Scale == 0 && p.Offset == 0 {
		return v
	}
	var f float64
	switch v := v.(type) {
	case int64:
		f = float64(v)
	case float64:
		f = v
	default:
		return v
	}
	if p.Scale != 0 {
		f *= p.Scale
	}
	// What FormatFloat has written parses.
	f, _ = strconv.ParseFloat(strconv.FormatFloat(f+p.Offset, 'g', 12, 64), 64)
	return f
}

func (a *app) modbusWriteCommand() *cobra.Command {
	var (
		bus   busFlags
		value pointFlags
	)
	cmd := &cobra.Command{
		Use:   "write TABLE ADDRESS VALUE",
		Short: "Write one value to a unit",
		Long: `Writes VALUE to ADDRESS of TABLE, coil or holding, and waits until the unit has
confirmed it. ADDRESS is as on the wire, where the first one is 0. VALUE is true or
false, a number (also 0x...), a text, or for --type bytes hexadecimal digits.

--how says by which function: single (5, 6), multiple (15, 16), readback (23), and
for parts of a register mask (22) or modify (3 and 6). The default is single for one
register or coil, multiple for more, and mask for parts.
` + modbusHelp,
		Example: `  gantry modbus write --port /dev/ttyUSB0 --unit-id 1 coil 3 true
  gantry modbus write --tcp 192.0.2.7 holding 120 21.5 --type f32 --order cdab
  gantry modbus write --tcp 192.0.2.7 holding 9 true --bit 4`,
		Args: cobra.ExactArgs(3),
	}
	bus.add(cmd)
	bus.addUnit(cmd)
	value.add(cmd)
	cmd.Flags().StringVar(&value.how, "how", "", "single, multiple, readback, mask, modify")
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		if err := bus.check(); err != nil {
			return err
		}
		at, err := parseAddress(words[1])
		if err != nil {
			return err
		}
		if words[0] == "input" || words[0] == "discrete" {
			return usageError{fmt.Errorf("TABLE: %s cannot be written; allowed: coil, holding", words[0])}
		}
		value.chooseHow(words[0])
		cfg := bus.config(0)
		cfg.Points = map[string]modbus.PointConfig{"value": value.point(words[0], at)}
		return withUnit(cmd.Context(), cfg, func(ctx context.Context, d *modbus.Driver) error {
			v, err := writtenValue(d.Describe().Points[0].Type, strings.TrimSpace(words[2]))
			if err != nil {
				return err
			}
			got, err := d.Write(ctx, "value", v)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "%s %d = %s\n", words[0], at, text(got))
			return err
		})
	}
	return cmd
}

// chooseHow settles by which function is written.
func (f *pointFlags) chooseHow(table string) {
	switch n := f.step(table); {
	case f.how != "":
	case f.bit >= 0 || f.bits > 0:
		f.how = "mask"
	case n > 1 || f.length > 0:
		f.how = "multiple"
	default:
		f.how = "single"
	}
}

// writtenValue reads a value of a command line.
func writtenValue(typ drivers.Type, s string) (drivers.Value, error) {
	var v drivers.Value = s
	var err error
	switch typ {
	case drivers.Bool:
		v, err = strconv.ParseBool(s)
	case drivers.Int:
		v, err = strconv.ParseInt(s, 0, 64)
	case drivers.Float:
		v, err = strconv.ParseFloat(s, 64)
	case drivers.Bytes:
		v, err = hex.DecodeString(s)
	}
	if err != nil {
		return nil, usageError{fmt.Errorf("VALUE: %.40q is no %s", s, typ)}
	}
	return v, nil
}

func (a *app) modbusProfilesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "profiles [NAME]",
		Short: "List the shipped descriptions of devices, or the points of one",
		Long: `Lists the descriptions of devices on the market that profile = "NAME" in a device's
configuration and read --profile take, or the points of one with the document that
they are from.

Exit codes: 0 done, 2 wrong usage.`,
		Example: `  gantry modbus profiles
  gantry modbus profiles eastron_sdm630`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, words []string) error {
			w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			if len(words) == 1 {
				if err := writeProfile(w, words[0]); err != nil {
					return err
				}
				return w.Flush()
			}
			fmt.Fprintln(w, "NAME\tDEVICE")
			for _, name := range modbus.ProfileNames() {
				p, err := modbus.LoadProfile(name, config.Decode)
				if err != nil {
					return err
				}
				fmt.Fprintf(w, "%s\t%s\n", name, p.Description)
			}
			return w.Flush()
		},
	}
}

func writeProfile(w io.Writer, name string) error {
	p, err := modbus.LoadProfile(name, config.Decode)
	if err != nil {
		return asUsage(err)
	}
	fmt.Fprintf(w, "%s\nfrom: %s\n", p.Description, p.Source)
	if p.Note != "" {
		fmt.Fprintf(w, "note: %s\n", p.Note)
	}
	fmt.Fprintln(w, "\nPOINT\tTABLE\tADDRESS\tTYPE\tUNIT\tSCALE")
	for _, id := range slices.Sorted(maps.Keys(p.Points)) {
		pt := p.Points[id]
		table, typ, scale := pt.Table, pt.Type, ""
		if table == "" {
			table = "holding"
		}
		if typ == "" && table != "coil" && table != "discrete" {
			typ = "u16"
		}
		if pt.Scale != 0 {
			scale = strconv.FormatFloat(pt.Scale, 'g', -1, 64)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", id, table, int(p.Base)+int(*pt.Address), typ, pt.Unit, scale)
	}
	return nil
}
