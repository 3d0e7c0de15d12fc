package onewire

import (
	"encoding/hex"
	"strconv"
	"strings"

	"gantry/drivers"
	"gantry/drivers/internal/checksum"
)

// The reasons why a value is bad or uncertain.
const (
	whyOffline  = "offline"      // the kernel does not know the sensor (any more)
	whySilent   = "no_answer"    // the sensor did not answer, or its checksum was wrong: old kernels and new ones tell by an empty file
	whyChecksum = "checksum"     // what the kernel shows has a wrong checksum
	whyGarbled  = "garbled"      // not in the form that the kernel's documents promise
	whyShort    = "bus_short"    // nothing but zeros, whose checksum is right
	whyPower    = "power"        // 127.94 degrees: the supply was too weak to convert
	whyPowerOn  = "power_on"     // 85 degrees: the value after power-on, or indeed 85 degrees
	whyRange    = "out_of_range" // no temperature of such a sensor
)

// Special temperatures and the range of all families but 3b, of which some have
// thermocouples, in thousandths of a degree.
const (
	powerOn   = 85000
	tooWeak   = 127937
	coldest   = -55000
	hottest   = 125000
	absolute0 = -273150
	tungsten  = 2320000 // the hottest thermocouple
)

// decode returns what the text of a file w1_slave says:
//
//	72 01 4b 46 7f ff 0e 10 57 : crc=57 YES
//	72 01 4b 46 7f ff 0e 10 57 t=23125
//
// The first line is what was read, the second what was last read with a right
// checksum, and the temperature of the first in thousandths of a degree.
func decode(family, text string) (v drivers.Value, q drivers.Quality, why string) {
	if strings.TrimSpace(text) == "" {
		return nil, drivers.Bad, whySilent
	}
	first, second, _ := strings.Cut(text, "\n")
	dump, verdict, ok := strings.Cut(first, " : crc=")
	pad, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(dump), " ", ""))
	_, degrees, found := strings.Cut(second, "t=")
	milli, numErr := strconv.ParseInt(strings.TrimSpace(degrees), 10, 32)
	switch {
	case !ok || !found || err != nil || len(pad) != 9 || numErr != nil:
		return nil, drivers.Bad, whyGarbled
	case !strings.HasSuffix(strings.TrimSpace(verdict), " YES") || crc8(pad[:8]) != pad[8]:
		return nil, drivers.Bad, whyChecksum
	case [9]byte(pad) == [9]byte{}:
		return nil, drivers.Bad, whyShort
	}
	return judge(family, milli)
}

// decodeMilli returns what the text of a file temperature says: thousandths of a degree.
func decodeMilli(family, text string) (v drivers.Value, q drivers.Quality, why string) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, drivers.Bad, whySilent
	}
	milli, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return nil, drivers.Bad, whyGarbled
	}
	return judge(family, milli)
}

// judge says how far a temperature can be trusted.
func judge(family string, milli int64) (drivers.Value, drivers.Quality, string) {
	low, high := int64(coldest), int64(hottest)
	if family == "3b" {
		low, high = absolute0, tungsten
	}
	switch {
	case milli == tooWeak && family != "3b":
		return nil, drivers.Bad, whyPower
	case milli < low || milli > high:
		return nil, drivers.Bad, whyRange
	case milli == powerOn:
		return float64(milli) / 1000, drivers.Uncertain, whyPowerOn
	}
	return float64(milli) / 1000, drivers.Good, ""
}

// maxim is the checksum of 1-Wire: x^8+x^5+x^4+1, least significant bit first.
var maxim, _ = checksum.Named("crc8_maxim")

func crc8(data []byte) byte { return byte(maxim.Sum(data)) }
