package modbus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"

	"github.com/google/go-cmp/cmp"
)

func TestConformance(t *testing.T) {
	points := map[string]PointConfig{
		"int":   {Address: ptr(uint16(0)), Write: "single"},
		"float": {Address: ptr(uint16(2)), Type: "f32", Write: "multiple"},
		"text":  {Address: ptr(uint16(10)), Type: "text", Length: 4, Write: "multiple"},
		"coil":  {Table: "coil", Address: ptr(uint16(0)), Write: "single"},
		"input": {Table: "input", Address: ptr(uint16(0)), Type: "i32"},
	}
	t.Run("tcp", func(t *testing.T) {
		drivertest.Test(t, func(t *testing.T) drivers.Driver {
			s := newServer(t)
			for i, v := range []uint16{0x41AC, 0} {
				s.regs[2+i] = v
			}
			for i := range 4 {
				s.regs[10+i] = 0x4142
			}
			return newDriver(t, s.config(points), nil)
		})
	})
	newWire := func(t *testing.T) *wire {
		u := newUnit()
		for a := range uint16(4) {
			u.regs[10+a] = 0x4142
		}
		return newWire(t, 0, map[byte]*unit{7: u})
	}
	t.Run("rtu", func(t *testing.T) {
		drivertest.Test(t, func(t *testing.T) drivers.Driver {
			return newDriver(t, newWire(t).config(7, points), nil)
		})
	})
	t.Run("rtu over tcp", func(t *testing.T) {
		drivertest.Test(t, func(t *testing.T) drivers.Driver {
			return newDriver(t, newWire(t).behindTCP(t, 7, points), nil)
		})
	})
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), drivertest.Patience)
	t.Cleanup(cancel)
	return ctx
}

// values reads points and returns what came: the value, or why there is none.
func values(t *testing.T, d *Driver, ids ...string) map[string]any {
	t.Helper()
	all, err := d.Read(within(t), ids)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]any{}
	for _, r := range all {
		if m[r.Point] = r.Value; r.Quality != drivers.Good {
			m[r.Point] = r.Why
		}
		if r.Time.IsZero() {
			t.Errorf("%s is not stamped", r.Point)
		}
	}
	return m
}

func TestPointsAreReadInBlocks(t *testing.T) {
	t.Parallel()
	u := newUnit()
	u.coils[3] = true
	w := newWire(t, 0, map[byte]*unit{1: u})
	points := regs(0, 1, 4, 40, 41)
	points["c2"] = PointConfig{Table: "coil", Address: ptr(uint16(2))}
	points["c3"] = PointConfig{Table: "coil", Address: ptr(uint16(3))}
	points["scaled"] = PointConfig{Table: "input", Address: ptr(uint16(5)), Type: "i16", Exponent: ptr(uint16(9))}
	u.regs[9] = 0xFFFE
	d, _ := start(t, w.config(1, points), nil)
	before := len(u.requests())
	got := values(t, d, "r0", "r1", "r4", "r40", "r41", "c2", "c3", "scaled")
	want := map[string]any{"r0": int64(1000), "r1": int64(1001), "r4": int64(1004), "r40": int64(1040), "r41": int64(1041), "c2": false, "c3": true, "scaled": 10.05}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var asked []string
	for _, pdu := range u.requests()[before:] {
		asked = append(asked, fmt.Sprintf("% x", pdu))
	}
	if diff := cmp.Diff([]string{"01 00 02 00 02", "03 00 00 00 05", "03 00 28 00 02", "04 00 05 00 05"}, asked); diff != "" {
		t.Error(diff)
	}
}

func TestARefusedBlockIsReadApartForGood(t *testing.T) {
	t.Parallel()
	u := newUnit()
	u.last = 11
	w := newWire(t, 0, map[byte]*unit{1: u})
	d, _ := start(t, w.config(1, regs(0, 5, 10, 12)), nil)
	want := map[string]any{"r0": int64(1000), "r5": int64(1005), "r10": int64(1010), "r12": "illegal_address"}
	if diff := cmp.Diff(want, values(t, d, "r0", "r5", "r10", "r12")); diff != "" {
		t.Error(diff)
	}
	before := len(u.requests())
	if diff := cmp.Diff(want, values(t, d, "r0", "r5", "r10", "r12")); diff != "" {
		t.Error(diff)
	}
	if n := len(u.requests()) - before; n != 4 {
		t.Errorf("%d requests the second time", n)
	}
}

func TestWrites(t *testing.T) {
	t.Parallel()
	u := newUnit()
	u.regs[20] = 0xFFFF
	u.regs[21] = 0xF0F0
	w := newWire(t, 0, map[byte]*unit{1: u})
	at := func(a uint16) *uint16 { return &a }
	d, _ := start(t, w.config(1, map[string]PointConfig{
		"single":   {Address: at(0), Write: "single"},
		"multiple": {Address: at(1), Write: "multiple"},
		"float":    {Address: at(2), Type: "f32", Order: "cdab", Write: "multiple"},
		"text":     {Address: at(4), Type: "text", Length: 2, Write: "multiple"},
		"masked":   {Address: at(20), Bit: ptr(uint8(4)), Bits: 3, Write: "mask"},
		"modified": {Address: at(21), Bit: ptr(uint8(0)), Write: "modify"},
		"readback": {Address: at(22), Type: "u32", Write: "readback"},
		"coil":     {Table: "coil", Address: at(0), Write: "single"},
		"coils":    {Table: "coil", Address: at(1), Write: "multiple"},
		"readonly": {Address: at(9)},
	}), nil)
	write := func(id string, v drivers.Value) {
		t.Helper()
		got, err := d.Write(within(t), id, v)
		if err != nil || !cmp.Equal(got, v) {
			t.Errorf("write %s: %v %v", id, got, err)
		}
	}
	write("single", int64(7))
	write("multiple", int64(8))
	write("float", 21.5)
	write("text", "abc")
	write("masked", int64(2))
	write("modified", true)
	write("readback", int64(0x12345678))
	write("coil", true)
	write("coils", true)
	u.change(func(u *unit) {
		want := map[uint16]uint16{0: 7, 1: 8, 2: 0, 3: 0x41AC, 4: 0x6162, 5: 0x6300, 20: 0xFFAF, 21: 0xF0F1, 22: 0x1234, 23: 0x5678}
		if diff := cmp.Diff(want, u.regs); diff != "" {
			t.Error(diff)
		}
		if !u.coils[0] || !u.coils[1] {
			t.Errorf("coils %v", u.coils)
		}
	})
	if _, err := d.Write(within(t), "readonly", int64(1)); err == nil {
		t.Error("a point without write was written")
	}
	if _, err := d.Write(within(t), "single", int64(70000)); err == nil {
		t.Error("70000 was written to a register")
	}
	u.change(func(u *unit) { u.refuse = map[byte]uint8{fcWriteRegister: illegalDataValue} })
	if _, err := d.Write(within(t), "single", int64(1)); !errors.Is(err, drivers.ErrRefused) || !strings.Contains(err.Error(), "illegal_value") {
		t.Errorf("refused write: %v", err)
	}
}

func TestBroadcastIsWrittenAndNotWaitedFor(t *testing.T) {
	t.Parallel()
	a, b := newUnit(), newUnit()
	w := newWire(t, 0, map[byte]*unit{1: a, 2: b})
	d, _ := start(t, w.config(0, regs(3)), nil)
	if p := d.Describe().Points[0]; p.Readable || !p.Writable {
		t.Errorf("%+v", p)
	}
	if _, err := d.Write(within(t), "r3", int64(5)); err != nil {
		t.Fatal(err)
	}
	// The next request on the line comes after the turnaround, and is answered.
	e, _ := start(t, w.config(2, regs(3)), d.buses)
	if got := values(t, e, "r3"); got["r3"] != int64(5) {
		t.Errorf("%v", got)
	}
}

func TestGarbageIsAskedForAgainAndNeverAValue(t *testing.T) {
	t.Parallel()
	u := newUnit()
	w := newWire(t, 0, map[byte]*unit{1: u})
	cfg := w.config(1, regs(0))
	cfg.AnswerTimeout = drivers.Duration(time.Second)
	d, link := start(t, cfg, nil)
	twists := 0
	u.change(func(u *unit) {
		u.twist = func(f []byte) []byte {
			if twists++; twists == 1 {
				f[4] ^= 0x10
			}
			return append([]byte{0xFF}, f...)
		}
	})
	if got := values(t, d, "r0"); got["r0"] != int64(1000) {
		t.Errorf("%v", got)
	}
	if g := link.AllGarbage(); len(g) != 1 || g[0].Why != "checksum" {
		t.Errorf("garbage %v", g)
	}
	u.change(func(u *unit) { u.twist = func(f []byte) []byte { f[4] ^= 0x10; return f } })
	if r, err := d.Read(within(t), []string{"r0"}); !errors.Is(err, errGarbled) {
		t.Errorf("%v %v", r, err)
	}
}

func TestAUnitThatStopsAnsweringIsLost(t *testing.T) {
	t.Parallel()
	u := newUnit()
	w := newWire(t, 0, map[byte]*unit{1: u})
	cfg := w.config(1, regs(0))
	cfg.AnswerTimeout = drivers.Duration(500 * time.Millisecond)
	cfg.LostAfter = 3
	d := newDriver(t, cfg, nil)
	link := &drivertest.Link{}
	done := make(chan error, 1)
	go func() { done <- d.Run(t.Context(), link) }()
	link.WaitUp(t, 1)
	u.change(func(u *unit) { u.dead = true })
	for {
		if _, err := d.Read(within(t), []string{"r0"}); !errors.Is(err, drivers.ErrTimeout) && !errors.Is(err, drivers.ErrOffline) && !errors.Is(err, context.Canceled) {
			t.Fatalf("read: %v", err)
		}
		select {
		case err := <-done:
			if !errors.Is(err, drivers.ErrTimeout) || !strings.Contains(err.Error(), "unit 1 does not answer") {
				t.Errorf("Run: %v", err)
			}
			// It stays so while the unit says nothing, and comes back with it.
			if err := d.Run(t.Context(), link); !errors.Is(err, drivers.ErrTimeout) || link.Ups() != 1 {
				t.Errorf("Run: %v, up %d times", err, link.Ups())
			}
			u.change(func(u *unit) { u.dead = false })
			again := drivertest.Start(t, d)
			again.WaitUp(t, 1)
			return
		default:
		}
	}
}

// TestLateAnswersAreNotTakenForTheNext lets a unit answer later than anybody waits
// for, while registers of the same number and function are asked for next.
func TestLateAnswersAreNotTakenForTheNext(t *testing.T) {
	t.Parallel()
	const timeout = 60 * time.Millisecond
	for _, late := range []time.Duration{90 * time.Millisecond, 150 * time.Millisecond, 400 * time.Millisecond} {
		for _, echoes := range []bool{true, false} {
			t.Run(fmt.Sprintf("%v/%v", late, echoes), func(t *testing.T) {
				t.Parallel()
				u := newUnit()
				if !echoes {
					u.refuse = map[byte]uint8{fcDiagnostics: illegalFunction}
				}
				w := newWire(t, 0, map[byte]*unit{1: u})
				cfg := w.config(1, regs(0, 50, 100))
				cfg.AnswerTimeout, cfg.Retries, cfg.LostAfter = drivers.Duration(timeout), ptr(uint8(0)), 250
				d, _ := start(t, cfg, nil)
				// The last reads show that the unit is not given up.
				for i, answered := 0, 0; i < 12 || answered < 3; i++ {
					u.change(func(u *unit) {
						switch u.delay = 0; {
						case i == 0:
							u.delay = 90 * time.Millisecond // it shows that it answers echoes
						case i < 12 && i%3 == 0:
							u.delay = late
						}
					})
					id := []string{"r0", "r50", "r100"}[(i+i/3)%3]
					all, err := d.Read(within(t), []string{id})
					if err != nil {
						if answered = 0; !errors.Is(err, drivers.ErrTimeout) && !errors.Is(err, errGarbled) || i > 200 {
							t.Fatal(i, err)
						}
						continue
					}
					answered++
					var a int64
					fmt.Sscanf(id, "r%d", &a)
					if all[0].Value != 1000+a {
						t.Fatalf("%s reads %v", id, all[0].Value)
					}
				}
			})
		}
	}
}

// TestLateAnswersOutliveTheRun has a unit that is always too late, and devices that
// are started again as soon as they are lost, as the hub does.
func TestLateAnswersOutliveTheRun(t *testing.T) {
	t.Parallel()
	u := newUnit()
	u.refuse = map[byte]uint8{fcDiagnostics: illegalFunction}
	w := newWire(t, 0, map[byte]*unit{1: u})
	cfg := w.config(1, regs(0, 50, 100))
	cfg.AnswerTimeout, cfg.Retries, cfg.LostAfter = drivers.Duration(50*time.Millisecond), ptr(uint8(0)), 1
	d := newDriver(t, cfg, nil)
	ids := []string{"r0", "r50", "r100"}
	answered := 0
	for i := 0; i < 30 || answered == 0 && i < 300; i++ {
		u.change(func(u *unit) {
			if u.delay = 0; i%2 == 0 && i < 30 {
				u.delay = time.Duration(60+10*(i%9)) * time.Millisecond
			}
		})
		up := make(chan struct{})
		done := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- d.Run(ctx, upLink{&drivertest.Link{}, up}) }()
		select {
		case <-up:
			for j := range 3 {
				id := ids[(i+j)%3]
				all, err := d.Read(within(t), []string{id})
				if err != nil {
					break
				}
				var a int64
				fmt.Sscanf(id, "r%d", &a)
				if all[0].Value != 1000+a {
					t.Fatalf("%s reads %v", id, all[0].Value)
				}
				answered++
			}
			cancel()
			<-done
		case <-done:
		}
		cancel()
	}
	if answered == 0 {
		t.Error("no answer was taken at all")
	}
}

func TestFramesAreKeptApart(t *testing.T) {
	t.Parallel()
	const gap = 30 * time.Millisecond
	u := newUnit()
	w := newWire(t, 0, map[byte]*unit{1: u})
	cfg := w.config(1, regs(0))
	cfg.Bus.Gap = drivers.Duration(gap)
	d, _ := start(t, cfg, nil)
	begin := time.Now()
	for range 6 {
		values(t, d, "r0")
	}
	if took := time.Since(begin); took < 5*gap {
		t.Errorf("six reads took %v", took)
	}
}

func TestUnitsShareALine(t *testing.T) {
	t.Parallel()
	units := map[byte]*unit{}
	for i := range byte(8) {
		units[i+1] = newUnit()
		units[i+1].regs[0] = uint16(i + 1)
	}
	w := newWire(t, 0, units)
	buses := NewBuses()
	errs := make(chan error, len(units))
	for id := range units {
		d, _ := start(t, w.config(id, regs(0)), buses)
		go func() {
			for range 20 {
				r, err := d.Read(within(t), []string{"r0"})
				if err == nil && r[0].Value != int64(id) {
					err = fmt.Errorf("unit %d reads %v", id, r[0].Value)
				}
				if err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range units {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestDevicesOnOneBusMustAgree(t *testing.T) {
	t.Parallel()
	w := newWire(t, 0, map[byte]*unit{1: newUnit()})
	a, _ := start(t, w.config(1, regs(0)), nil)
	cfg := w.config(2, regs(0))
	cfg.Line.Baud = 9600
	err := newDriver(t, cfg, a.buses).Run(t.Context(), &drivertest.Link{})
	if err == nil || !strings.Contains(err.Error(), "line.baud differs from that of device dev") {
		t.Errorf("Run: %v", err)
	}
}

func TestWritesOvertakePolls(t *testing.T) {
	t.Parallel()
	u := newUnit()
	u.delay = 20 * time.Millisecond
	w := newWire(t, 0, map[byte]*unit{1: u})
	d, _ := start(t, w.config(1, regs(0, 50, 100, 150, 200, 250)), nil)
	read := make(chan error, 1)
	before := len(u.requests())
	go func() {
		_, err := d.Read(within(t), []string{"r0", "r50", "r100", "r150", "r200", "r250"})
		read <- err
	}()
	for len(u.requests()) == before { // until the poll is under way
		time.Sleep(time.Millisecond)
	}
	if _, err := d.Write(within(t), "r0", int64(1)); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	for i, pdu := range u.requests()[before:] {
		if pdu[0] == fcWriteRegister {
			if i > 2 {
				t.Errorf("the write came as number %d", i)
			}
			return
		}
	}
	t.Error("no write")
}

func TestEchoIsNoAnswer(t *testing.T) {
	t.Parallel()
	for _, told := range []bool{true, false} {
		u := newUnit()
		w := newWire(t, 0, map[byte]*unit{1: u})
		w.echo = true
		cfg := w.config(1, regs(0))
		cfg.Bus.Echo = told
		cfg.AnswerTimeout = drivers.Duration(time.Second)
		d, _ := start(t, cfg, nil)
		if got := values(t, d, "r0"); got["r0"] != int64(1000) {
			t.Errorf("told %v: %v", told, got)
		}
		u.change(func(u *unit) { u.mute = map[byte]bool{fcWriteRegister: true} })
		if _, err := d.Write(within(t), "r0", int64(1)); !errors.Is(err, drivers.ErrTimeout) {
			t.Errorf("told %v: a write that was not confirmed: %v", told, err)
		}
	}
}

func TestGarbageIsNoValue(t *testing.T) {
	t.Parallel()
	u := newUnit()
	w := newWire(t, 0, map[byte]*unit{1: u})
	cfg := w.config(1, regs(0, 1))
	cfg.AnswerTimeout = drivers.Duration(500 * time.Millisecond)
	drivertest.GarbageIsNoValue(t, newDriver(t, cfg, nil), func() {
		u.change(func(u *unit) { u.twist = func(f []byte) []byte { f[4] ^= 0x10; return f } })
	})
}
