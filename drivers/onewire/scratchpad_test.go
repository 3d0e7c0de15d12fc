package onewire

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"gantry/drivers"
)

// show returns a file w1_slave as the kernel writes it.
func show(pad string, milli int) string {
	b, err := hex.DecodeString(pad)
	if err != nil {
		panic(err)
	}
	dump, verdict := "", "NO"
	for _, x := range b {
		dump += fmt.Sprintf("%02x ", x)
	}
	crc := crc8(b[:8])
	if crc == b[8] {
		verdict = "YES"
	}
	return fmt.Sprintf("%s: crc=%02x %s\n%st=%d\n", dump, crc, verdict, dump, milli)
}

// withCRC adds the checksum to eight bytes in hexadecimal digits.
func withCRC(pad string) string {
	b, err := hex.DecodeString(pad)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("%s%02x", pad, crc8(b))
}

func TestDecode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, family, text string
		value              drivers.Value
		quality            drivers.Quality
		why                string
	}{
		{"as on a Raspberry Pi", "28", "72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=23125\n", 23.125, drivers.Good, ""},
		// DS18B20 data sheet, table 1.
		{"the hottest", "28", show(withCRC("d0074b467fff0c10"), 125000), 125.0, drivers.Good, ""},
		{"below zero", "28", show(withCRC("5eff4b467fff0c10"), -10125), -10.125, drivers.Good, ""},
		{"the coldest", "28", show(withCRC("90fc4b467fff0c10"), -55000), -55.0, drivers.Good, ""},
		{"power-on value", "28", show(withCRC("50054b467fff0c10"), 85000), 85.0, drivers.Uncertain, whyPowerOn},
		{"weak supply", "28", show(withCRC("ff074b467fff0c10"), 127937), nil, drivers.Bad, whyPower},
		{"hotter than it can be", "28", show(withCRC("e0074b467fff0c10"), 126000), nil, drivers.Bad, whyRange},
		{"a thermocouple", "3b", show(withCRC("100000000000f000"), 900000), 900.0, drivers.Good, ""},
		{"short to ground", "28", show("000000000000000000", 0), nil, drivers.Bad, whyShort},
		{"wrong checksum", "28", show("72014b467fff0e1058", 23125), nil, drivers.Bad, whyChecksum},
		{"nobody there, old kernels", "28", show("ffffffffffffffffff", -62), nil, drivers.Bad, whyChecksum},
		{"a verdict that is not true", "28", strings.Replace(show("72014b467fff0e1058", 23125), " NO", " YES", 1), nil, drivers.Bad, whyChecksum},
		{"empty", "28", "", nil, drivers.Bad, whySilent},
		{"one line", "28", "72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n", nil, drivers.Bad, whyGarbled},
		{"no number", "28", "72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\nt=\n", nil, drivers.Bad, whyGarbled},
		{"too few bytes", "28", "72 01 : crc=57 YES\nt=1\n", nil, drivers.Bad, whyGarbled},
	} {
		if v, q, why := decode(c.family, c.text); v != c.value || q != c.quality || why != c.why {
			t.Errorf("%s: %v %v %q", c.name, v, q, why)
		}
	}
}

// The example of Maxim's application note 27: a ROM number and its checksum.
func TestCRC(t *testing.T) {
	t.Parallel()
	if got := crc8([]byte{0x02, 0x1c, 0xb8, 0x01, 0x00, 0x00, 0x00}); got != 0xa2 {
		t.Errorf("%#x", got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("28", "72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=23125\n")
	f.Add("10", "72 01 4b 46 7f ff 0e 10 57 : crc=57 NO\nt=85000\n")
	f.Add("3b", "21500\n")
	f.Fuzz(func(t *testing.T, family, text string) {
		for _, dec := range []func(_, _ string) (drivers.Value, drivers.Quality, string){decode, decodeMilli} {
			v, q, why := dec(family, text)
			degrees, ok := v.(float64)
			switch {
			case (why == "") != (q == drivers.Good), ok != (q != drivers.Bad):
				t.Errorf("%v %v %q", v, q, why)
			case ok && (degrees < -273.15 || degrees > 2320):
				t.Errorf("%v degrees", degrees)
			}
		}
	})
}
