package i2c

import (
	"errors"
	"math"
	"testing"
	"testing/synctest"

	"gantry/drivers"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// near compares with what data sheets and recordings round to, and with formulas in
// whole numbers.
func near(margin float64) cmp.Option { return cmpopts.EquateApprox(3e-6, margin) }

// crc adds the checksum to each word of two bytes.
func crc(words string) string {
	b, out := unhex(words), ""
	for ; len(b) >= 2; b = b[2:] {
		out += " " + hexOf(b[0], b[1], sensirionCRC(b[:2]))
	}
	return out
}

func hexOf(b ...byte) (s string) {
	const digits = "0123456789abcdef"
	for _, x := range b {
		s += string(digits[x>>4]) + string(digits[x&15])
	}
	return s
}

// TestRecordings plays what each chip was set up and read with. Where the values are
// from a data sheet, the name says so.
func TestRecordings(t *testing.T) {
	t.Parallel()
	// A chip's calibration and measurement, as published in the tests of periph.io's
	// bmxx80 (The Periph Authors, Apache 2.0), where a BME280 was read.
	const calib1 = "10 6e 6c 66 32 00 5d 95 b8 d5 d0 0b 77 1e 9d ff f9 ff ac 26 0a d8 bd 10 00 4b"
	for _, c := range []struct {
		name    string
		cfg     Config
		steps   []step
		want    []drivers.Reading
		margin  float64
		wantErr error
	}{
		{"BME280, as read and reckoned by others", Config{Chip: "bme280"}, []step{
			{"d0", "60"}, {"88", calib1}, {"e1", "6e 01 00 13 05 00 1e"},
			{"f2 01", ""}, {"f4 25", ""}, {"f3", "00"}, {"f7", "4a 52 c0 80 96 c0 7a 76"},
		}, []drivers.Reading{good("temperature", 23.72), good("pressure", 100942.695), good("humidity", 65.31)}, 0.05, nil},
		{"BMP280, the data sheet's example", Config{Chip: "bmp280", Address: 0x77}, []step{
			{"d0", "58"}, {"88", "70 6b 43 67 18 fc 7d 8e 43 d6 d0 0b 27 0b 8c 00 f9 ff 8c 3c f8 c6 70 17 00 00"},
			{"f4 25", ""}, {"f3", "00"}, {"f7", "65 5a c0 7e ed 00 80 00"},
		}, []drivers.Reading{good("temperature", 25.08), good("pressure", 100653.27), badReading("humidity", whySkipped)}, 0.01, nil},
		{"a BMP280 sold as BME280", Config{Chip: "bme280"}, []step{{"d0", "58"}}, nil, 0, errWrongChip},
		{"a BME280 that has not finished", Config{Chip: "bme280"}, []step{
			{"d0", "60"}, {"88", calib1}, {"e1", "6e 01 00 13 05 00 1e"},
			{"f2 01", ""}, {"f4 25", ""}, {"f3", "08"}, {"f7", "80 00 00 80 00 00 80 00"},
		}, []drivers.Reading{badReading("temperature", whyNotReady), badReading("pressure", whyNotReady), badReading("humidity", whyNotReady)}, 0, nil},
		{"SHT3x", Config{Chip: "sht3x"}, []step{
			{"f3 2d", ""}, {"", crc("8010")}, {"24 00", ""}, {"", crc("6666 8000")},
		}, []drivers.Reading{good("temperature", 25.0), good("humidity", 50.0)}, 0.002, nil},
		{"SHT3x with a damaged byte", Config{Chip: "sht3x"}, []step{
			{"f3 2d", ""}, {"", crc("8010")}, {"24 00", ""}, {"", "66 67 93 80 00 a2"},
		}, nil, 0, errChecksum},
		{"SHT4x, humidity beyond 100 %", Config{Chip: "sht4x", Address: 0x46}, []step{
			{"89", ""}, {"", crc("1234 5678")}, {"fd", ""}, {"", crc("6666 ffff")},
		}, []drivers.Reading{good("temperature", 25.0), good("humidity", 100.0)}, 0.002, nil},
		{"SCD4x, the data sheet's example of read_measurement", Config{Chip: "scd4x"}, []step{
			{"3f 86", ""}, {"36 82", ""}, {"", "f8 96 31 9f 07 c2 3b be 89"}, {"21 b1", ""},
			{"e4 b8", ""}, {"", crc("8006")}, {"ec 05", ""}, {"", "01 f4 33 66 67 a2 5e b9 3c"},
		}, []drivers.Reading{good("co2", 500.0), good("temperature", 25.0), good("humidity", 37.0)}, 0.01, nil},
		{"SCD4x before the first measurement", Config{Chip: "scd4x"}, []step{
			{"3f 86", ""}, {"36 82", ""}, {"", "f8 96 31 9f 07 c2 3b be 89"}, {"21 b1", ""}, {"e4 b8", ""}, {"", crc("8000")},
		}, []drivers.Reading{badReading("co2", whyNotReady), badReading("temperature", whyNotReady), badReading("humidity", whyNotReady)}, 0, nil},
		{"BH1750, the data sheet's example", Config{Chip: "bh1750"}, []step{
			{"01", ""}, {"20", ""}, {"", "83 90"},
		}, []drivers.Reading{good("illuminance", 28067.0)}, 1, nil},
		{"ADS1115, the data sheet's output codes", Config{Chip: "ads1115", Range: 4.096, Inputs: []string{"a0", "a2_a3"}}, []step{
			{"01", "85 83"},
			{"01 b3 83", ""}, {"01", "b3 83"}, {"00", "80 01"},
			{"01 c3 83", ""}, {"01", "c3 83"}, {"00", "7f ff"},
		}, []drivers.Reading{
			good("a2_a3", -4.096*32767/32768),
			{Point: "a0", Value: 4.096 * 32767 / 32768, Quality: drivers.Uncertain, Why: whyClipped},
		}, 1e-9, nil},
		{"INA219, the data sheet's example", Config{Chip: "ina219", Shunt: 0.002}, []step{
			{"00 39 9f", ""}, {"01", "07 d0"}, {"02", "5d 98"},
		}, []drivers.Reading{good("voltage", 11.98), good("current", 10.0), good("power", 119.8)}, 1e-9, nil},
		{"INA226, the data sheet's example", Config{Chip: "ina226", Shunt: 0.002}, []step{
			{"fe", "54 49"}, {"00 45 27", ""}, {"01", "1f 40"}, {"02", "25 70"},
		}, []drivers.Reading{good("voltage", 11.98), good("current", 10.0), good("power", 119.8)}, 1e-9, nil},
		{"INA219 taken for an INA226", Config{Chip: "ina226"}, []step{{"fe", "39 9f"}}, nil, 0, errWrongChip},
	} {
		synctest.Test(t, func(t *testing.T) {
			chip, err := c.cfg.prepare()
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			p := &playback{t: t, address: c.cfg.Address, steps: c.steps}
			w := wire{&bus{port: p}, c.cfg.Address}
			var got []drivers.Reading
			if err = chip.start(t.Context(), w); err == nil {
				var ids []string
				for _, p := range chip.points() {
					ids = append(ids, p.ID)
				}
				got, err = chip.read(t.Context(), w, ids)
			}
			if !errors.Is(err, c.wantErr) {
				t.Fatalf("%s: %v, want %v", c.name, err, c.wantErr)
			}
			if diff := cmp.Diff(c.want, got, near(c.margin)); diff != "" {
				t.Errorf("%s:\n%s", c.name, diff)
			}
			if len(p.steps) > 0 {
				t.Errorf("%s: not asked for: %v", c.name, p.steps)
			}
		})
	}
}

// Section 4.12 of the data sheet SHT3x-DIS, and every other of Sensirion's.
func TestSensirionCRC(t *testing.T) {
	t.Parallel()
	if got := sensirionCRC([]byte{0xbe, 0xef}); got != 0x92 {
		t.Errorf("%#x", got)
	}
}

func TestINAAtTheEndOfItsRange(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ shunt, bus [2]byte }{
		"shunt":    {[2]byte{0x7d, 0x00}, [2]byte{0x5d, 0x98}},
		"overflow": {[2]byte{0x07, 0xd0}, [2]byte{0x5d, 0x99}},
	} {
		chip, err := newINA219(&Config{Chip: "ina219"})
		if err != nil {
			t.Fatal(err)
		}
		got := chip.(*ina).decode(c.shunt, c.bus)
		if got[0].Quality != drivers.Good || got[1].Why != whyClipped || got[2].Why != whyClipped {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// FuzzDecode gives the chips' decoders anything: a number that is one, or a reason.
func FuzzDecode(f *testing.F) {
	f.Add(unhex("70 6b 43 67 18 fc 7d 8e 43 d6 d0 0b 27 0b 8c 00 f9 ff 8c 3c f8 c6 70 17 00 00 00 00 00 00 00 00 00 65 5a c0 7e ed 00 80 00"))
	f.Add(make([]byte, 41))
	f.Fuzz(func(t *testing.T, b []byte) {
		if words, err := parseWords(b); err == nil && len(words) != len(b)/3 {
			t.Errorf("%d words of %d bytes", len(words), len(b))
		}
		if len(b) < 41 {
			return
		}
		cal := parseBMECalibration([26]byte(b), [7]byte(b[26:]))
		all := cal.decode([8]byte(b[33:]))
		all = append(all, decodeBH1750([2]byte(b)), (&ads1115{scale: 6.144}).decode("a0", [2]byte(b)))
		all = append(all, (&ina{shunt: 0.1, shuntStep: 1e-5, busStep: 4e-3, busShift: 3, overflow: true}).decode([2]byte(b), [2]byte(b[2:]))...)
		for _, r := range all {
			v, ok := r.Value.(float64)
			switch {
			case ok != (r.Quality != drivers.Bad), (r.Why == "") != (r.Quality == drivers.Good):
				t.Errorf("%+v", r)
			case math.IsNaN(v), math.IsInf(v, 0):
				t.Errorf("%+v", r)
			case r.Point == "humidity" && (v < 0 || v > 100):
				t.Errorf("%+v", r)
			}
		}
	})
}
