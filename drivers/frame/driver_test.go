package frame_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/frame"

	"github.com/google/go-cmp/cmp"
)

// The frames of its manual: 608 ppm, and the commands.
const (
	gasAsked   = "FF 01 86 00 00 00 00 00 79"
	gasAnswer  = "FF 86 02 60 47 00 00 00 D1"
	zeroAsked  = "FF 01 87 00 00 00 00 00 78"
	rangeAsked = "FF 01 99 00 00 00 07 D0 8F" // 2000 ppm
)

// mhz19 is the sensor: it answers its question, and obeys without a word.
func mhz19(t testing.TB) (heard func([]byte) (int, []byte), commands func() [][]byte) {
	var mu sync.Mutex
	var got [][]byte
	return func(b []byte) (int, []byte) {
			if len(b) < 9 {
				return 0, nil
			}
			if bytes.Equal(b[:9], unhex(t, gasAsked)) {
				return 9, unhex(t, gasAnswer)
			}
			mu.Lock()
			defer mu.Unlock()
			got = append(got, bytes.Clone(b[:9]))
			return 9, nil
		}, func() [][]byte {
			mu.Lock()
			defer mu.Unlock()
			return got
		}
}

func TestConformanceOfASensorThatIsAsked(t *testing.T) {
	drivertest.Test(t, func(t *testing.T) drivers.Driver {
		heard, _ := mhz19(t)
		return newBoard(t, heard).driver(sample(t, "co2"))
	})
}

// A sensor that sends all the time, and acknowledges its command.
func TestConformanceOfASensorThatSends(t *testing.T) {
	drivertest.Test(t, func(t *testing.T) drivers.Driver {
		b := newBoard(t, sds011)
		stop := make(chan struct{})
		var done sync.WaitGroup
		done.Go(func() {
			tick := time.NewTicker(2 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				if _, err := b.far.Write(unhex(t, dust)); err != nil {
					return
				}
			}
		})
		t.Cleanup(func() {
			close(stop)
			b.far.Close() // nobody may be reading
			done.Wait()
		})
		return b.driver(sample(t, "dust"))
	})
}

func TestAskedFrames(t *testing.T) {
	t.Parallel()
	heard, commands := mhz19(t)
	b := newBoard(t, heard)
	d, link := b.start(sample(t, "co2"))
	got, err := d.(drivers.Reader).Read(t.Context(), []string{"co2"})
	if err != nil || len(got) != 1 || got[0].Value != int64(608) || got[0].Quality != drivers.Good {
		t.Errorf("%v, %v", got, err)
	}
	do := d.(drivers.Doer)
	if _, err := do.Do(t.Context(), "zero", nil, nil); err != nil {
		t.Error(err)
	}
	if _, err := do.Do(t.Context(), "range", map[string]any{"ppm": 2000.0}, nil); err != nil {
		t.Error(err)
	}
	if _, err := do.Do(t.Context(), "range", map[string]any{"ppm": 1 << 16}, nil); err == nil {
		t.Error("65536 fits two bytes")
	}
	// The next answer says that the sensor has read the commands.
	if _, err := d.(drivers.Reader).Read(t.Context(), []string{"co2"}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([][]byte{unhex(t, zeroAsked), unhex(t, rangeAsked)}, commands()); diff != "" {
		t.Error(diff)
	}
	if g := link.AllGarbage(); len(g) != 0 {
		t.Errorf("garbage %v", g)
	}
}

// The frame of its data sheet: PM2.5 123.6 ug/m3, PM10 261.8 ug/m3.
const dust = "AA C0 D4 04 3A 0A A1 60 1D AB"

// sds011 acknowledges the command to work or to rest, of its data sheet.
func sds011(b []byte) (int, []byte) {
	if len(b) < 19 {
		return 0, nil
	}
	want := []byte{0xAA, 0xB4, 6, 1, b[4], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 5 + b[4], 0xAB}
	if !bytes.Equal(b[:19], want) {
		return 19, nil
	}
	return 19, []byte{0xAA, 0xC5, 6, 1, b[4], 0, 0xA1, 0x60, 8 + b[4], 0xAB}
}

func TestFramesThatComeByThemselves(t *testing.T) {
	t.Parallel()
	b := newBoard(t, sds011)
	d, link := b.start(sample(t, "dust"))
	if _, ok := d.(drivers.Reader); ok {
		t.Error("a device that is never asked can be read")
	}
	b.send(dust)
	if r := link.WaitReading(t, "pm2_5", 0, nil); r.Value != int64(1236) || r.Time.IsZero() {
		t.Errorf("%+v", r)
	}
	if r := link.WaitReading(t, "pm10", 0, nil); r.Value != int64(2618) {
		t.Errorf("%+v", r)
	}
	for _, on := range []bool{false, true} {
		if got, err := d.(drivers.Writer).Write(t.Context(), "working", on); got != on || err != nil {
			t.Errorf("%v, %v", got, err)
		}
	}
}

func TestGarbageIsCountedAndNeverAValue(t *testing.T) {
	t.Parallel()
	b := newBoard(t, deaf)
	_, link := b.start(sample(t, "dust"))
	b.send("00 11 22")                               // noise
	b.send("AA C0 D4 05 3A 0A A1 60 1D AB")          // a bit flipped
	b.send("AA C0 D4 04 3A 0A A1 60 1D AC")          // the end flipped
	b.send("AA C0 D4 AA C0 01 00 02 00 A1 60 04 AB") // a frame in the rest of one: AA C0 01 00 ...
	b.send("AA C1 01 00 02 00 A1 60 04 AB")          // intact, of no message
	b.send(dust)
	link.WaitReading(t, "pm2_5", 0, func(r drivers.Reading) bool { return r.Value == int64(1236) })
	var got []drivers.Value
	for _, r := range link.Readings() {
		got = append(got, r.Value)
	}
	if diff := cmp.Diff([]drivers.Value{int64(2), int64(1), int64(2618), int64(1236)}, got); diff != "" {
		t.Error(diff)
	}
	var whys []string
	for _, g := range link.AllGarbage() {
		whys = append(whys, g.Why)
	}
	if diff := cmp.Diff([]string{"no_start", "no_match"}, whys); diff != "" {
		t.Error(diff)
	}
}

func TestParticleCounter(t *testing.T) {
	t.Parallel()
	b := newBoard(t, deaf)
	_, link := b.start(sample(t, "air"))
	frame := unhex(t, "42 4D 00 1C 0005 0008 0009 0004 0007 0009 0300 00DC 0030 0004 0000 0000 9700")
	var sum uint16
	for _, x := range frame {
		sum += uint16(x)
	}
	whole := append(frame, byte(sum>>8), byte(sum))
	for i := range whole { // byte by byte
		if _, err := b.far.Write(whole[i : i+1]); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]int64{"pm1": 4, "pm2_5": 7, "pm10": 9} {
		if r := link.WaitReading(t, id, 0, nil); r.Value != want {
			t.Errorf("%+v, want %d", r, want)
		}
	}
}

// bus is a device on a wire where everything sent is heard.
const bus = `
echo = true
order = "little"
frame = { kind = "delimiter", start = "02", end = "03", escape = { byte = "10", xor = 0x40 } }
checksum = { kind = "crc16_modbus" }
[message.all]
match = { 1 = "01" }
request = "02 01 {checksum}"
timeout = "10s"
[message.done]
match = { 1 = "06" }
[message.no]
match = { 1 = "15" }
[point.level]
message = "all"
at = 2
type = "u16"
[point.level.write]
template = "02 02 {value} {checksum}"
answer = "all"
refusal = "no"
timeout = "10s"
[point.on]
message = "all"
at = 4
bit = 3
[point.name]
type = "text"
length = 4
[point.name.write]
template = "02 03 {value} {checksum}"
answer = "done"
timeout = "10s"
`

func TestEchoEscapesAndRefusal(t *testing.T) {
	t.Parallel()
	var level [2]byte
	b := newBoard(t, func(b []byte) (int, []byte) {
		i := bytes.IndexByte(b, 3)
		if i < 0 {
			return 0, nil
		}
		sent := bytes.Clone(b[:i+1])
		body := unescape(b[1:i])
		var answer []byte
		switch body[0] {
		case 1:
			answer = append([]byte{2, 1}, append(level[:], 8)...)
		case 2:
			if body[1] == 0xFF {
				answer = []byte{2, 0x15}
				break
			}
			copy(level[:], body[1:3])
			answer = append([]byte{2, 1}, append(level[:], 0)...)
		case 3:
			answer = []byte{2, 6}
		}
		c := modbusCRC(answer)
		answer = append(answer, byte(c), byte(c>>8))
		return i + 1, append(append(append(sent, 2), escape(answer[1:])...), 3)
	})
	d, link := b.start(parse(t, bus))
	w := d.(drivers.Writer)
	// Every byte that means something by itself.
	for _, v := range []int64{0x0302, 0x1010, 0x5042, 0} {
		if got, err := w.Write(t.Context(), "level", v); got != v || err != nil {
			t.Errorf("%#x: %v, %v", v, got, err)
		}
		got, err := d.(drivers.Reader).Read(t.Context(), []string{"level", "on"})
		if err != nil || len(got) != 2 || got[0].Value != v || got[1].Value != true {
			t.Errorf("%#x: %v, %v", v, got, err)
		}
	}
	if _, err := w.Write(t.Context(), "level", int64(0xFF)); !errors.Is(err, drivers.ErrRefused) {
		t.Errorf("%v", err)
	}
	if _, err := w.Write(t.Context(), "name", "\x02\x03"); err != nil {
		t.Error(err)
	}
	if g := link.AllGarbage(); len(g) != 0 {
		t.Errorf("garbage %v", g)
	}
}

func unescape(b []byte) (out []byte) {
	for i := 0; i < len(b); i++ {
		if b[i] == 0x10 && i+1 < len(b) {
			i++
			out = append(out, b[i]^0x40)
			continue
		}
		out = append(out, b[i])
	}
	return out
}

func escape(b []byte) (out []byte) {
	for _, c := range b {
		if c == 2 || c == 3 || c == 0x10 {
			out = append(out, 0x10, c^0x40)
			continue
		}
		out = append(out, c)
	}
	return out
}

func modbusCRC(b []byte) uint16 {
	c := uint16(0xFFFF)
	for _, x := range b {
		c ^= uint16(x)
		for range 8 {
			if c&1 != 0 {
				c = c>>1 ^ 0xA001
			} else {
				c >>= 1
			}
		}
	}
	return c
}

func TestSilentDeviceIsAskedAgain(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	asked := 0
	b := newBoard(t, func(b []byte) (int, []byte) {
		if len(b) < 9 {
			return 0, nil
		}
		mu.Lock()
		defer mu.Unlock()
		if asked++; asked%2 == 1 {
			return 9, nil
		}
		return 9, unhex(t, gasAnswer)
	})
	cfg := sample(t, "co2")
	m := cfg.Messages["gas"]
	short := drivers.Duration(300 * time.Millisecond)
	m.Timeout, m.Retries = &short, 5
	cfg.Messages = map[string]frame.MessageConfig{"gas": m}
	d, _ := b.start(cfg)
	got, err := d.(drivers.Reader).Read(t.Context(), []string{"co2"})
	if err != nil || got[0].Value != int64(608) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestDeviceThatNeverAnswersTimesOut(t *testing.T) {
	t.Parallel()
	b := newBoard(t, deaf)
	cfg := sample(t, "co2")
	m := cfg.Messages["gas"]
	short := drivers.Duration(20 * time.Millisecond)
	m.Timeout = &short
	cfg.Messages = map[string]frame.MessageConfig{"gas": m}
	d, _ := b.start(cfg)
	if got, err := d.(drivers.Reader).Read(t.Context(), []string{"co2"}); !errors.Is(err, drivers.ErrTimeout) {
		t.Errorf("%v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.(drivers.Reader).Read(ctx, []string{"co2"}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Frames of decimal digits between two pauses, as scales send them.
func TestDigitsBetweenPauses(t *testing.T) {
	t.Parallel()
	b := newBoard(t, deaf)
	_, link := b.start(parse(t, `
frame = { kind = "silence", start = "02", end = "03", idle = "200ms" }
checksum = { kind = "xor8", hex = true, from = 1 }
[point.weight]
at = 1
type = "number"
[point.sign]
at = 1
type = "text"
length = 1
`))
	for _, text := range []string{"\x02 12.50", "\x02-0.25", "\x02- 12.5"} {
		var x byte
		for _, c := range []byte(text[1:]) {
			x ^= c
		}
		const digits = "0123456789ABCDEF"
		skip := len(link.Readings())
		b.send(hex.EncodeToString([]byte(text + string(digits[x>>4]) + string(digits[x&15]) + "\x03")))
		link.WaitReading(t, "weight", skip, nil)
	}
	var got []any
	for _, r := range link.Readings() {
		if r.Point == "weight" {
			got = append(got, r.Value, r.Why)
		}
	}
	if diff := cmp.Diff([]any{12.5, "", -0.25, "", nil, "not_a_number"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestGarbageIsNoValue(t *testing.T) {
	t.Parallel()
	t.Run("asked", func(t *testing.T) {
		heard, _ := mhz19(t)
		var spoilt atomic.Bool
		b := newBoard(t, func(b []byte) (int, []byte) {
			n, answer := heard(b)
			if spoilt.Load() && len(answer) > 3 {
				answer[3] ^= 1
			}
			return n, answer
		})
		drivertest.GarbageIsNoValue(t, b.driver(sample(t, "co2")), func() { spoilt.Store(true) })
	})
	t.Run("sent", func(t *testing.T) {
		b := newBoard(t, deaf)
		drivertest.GarbageIsNoValue(t, b.driver(sample(t, "dust")), func() {
			b.send("AA C0 D4 05 3A 0A A1 60 1D AB") // a bit flipped
			b.send("AA C1 01 00 02 00 A1 60 04 AB") // intact, of no message
		})
	})
}
