package shape

import "strings"

// units are the units that makers write, as UCUM codes.
var units = Table(`
°C Cel|ºC Cel|C Cel|℃ Cel|°F [degF]|F [degF]|K K|° deg
% %|%RH %|% rh %|ppm [ppm]|ppb [ppb]|pH [pH]
W W|kW kW|mW mW|MW MW|VA V.A|kVA kV.A|var V.A{reactive}|VAr V.A{reactive}|VAR V.A{reactive}
Wh W.h|kWh kW.h|MWh MW.h|varh V.A.h{reactive}|kvarh kV.A.h{reactive}|VAh V.A.h|VArh V.A.h{reactive}|J J|kJ kJ|MJ MJ|GJ GJ
V V|mV mV|A A|mA mA|Ah A.h|Hz Hz|kHz kHz|Ohm Ohm|kOhm kOhm|kΩ kOhm|Ω Ohm
lx lx|lux lx|W/m² W/m2|W/m2 W/m2|dB dB|dBA dB{A}|dBm dB{mW}
Pa Pa|hPa hPa|kPa kPa|bar bar|mbar mbar|cbar cbar|psi [psi]|inHg [in_i'Hg]|mmHg mm[Hg]
m m|cm cm|mm mm|km km|in [in_i]|ft [ft_i]|mi [mi_i]|yd [yd_i]
m/s m/s|km/h km/h|kmh km/h|mph [mi_i]/h|mi/h [mi_i]/h|kn [kn_i]|ft/s [ft_i]/s|m/s² m/s2
mm/h mm/h|mm/d mm/d|in/h [in_i]/h|in/d [in_i]/d
m³ m3|m3 m3|L L|l L|liter L|mL mL|gal [gal_us]|ft³ [cft_i]
m³/h m3/h|m3/h m3/h|L/min L/min|L/h L/h|gal/min [gal_us]/min|ft³/min [cft_i]/min
µg/m³ ug/m3|μg/m³ ug/m3|ug/m3 ug/m3|µg/m3 ug/m3|mg/m³ mg/m3|mg/m3 mg/m3|µS/cm uS/cm|μS/cm uS/cm|mS/cm mS/cm|µSv/h uSv/h|μSv/h uSv/h
kg kg|g g|mg mg|µg ug|lb [lb_av]|oz [oz_av]|t t
s s|sec s|seconds s|min min|minutes min|h h|hours h|d d|days d|ms ms|µs us|μs us
B By|kB kBy|MB MBy|GB GBy|KiB KiBy|MiB MiBy|GiB GiBy|bit/s bit/s|kbit/s kbit/s|Mbit/s Mbit/s|kB/s kBy/s|MB/s MBy/s
mired MK-1|mireds MK-1|rpm /min|r/min /min|bpm /min
`)

// Table reads pairs, each of a key, a blank and a word, with | or the end of a line between
// them. As a text they take less of the program than as a map.
func Table(text string) map[string]string {
	out := map[string]string{}
	for _, pair := range strings.FieldsFunc(text, func(c rune) bool { return c == '|' || c == '\n' }) {
		if at := strings.LastIndexByte(pair, ' '); at > 0 {
			out[pair[:at]] = pair[at+1:]
		}
	}
	return out
}

// Unit returns the UCUM code of a unit as makers write it, "" for none. What has no
// code becomes an annotation, such as {lqi}, which says the same to people.
func Unit(s string) string {
	s = strings.TrimSpace(s)
	if u, ok := units[s]; ok || s == "" {
		return u
	}
	b := make([]byte, 0, 32)
	for i := 0; i < len(s) && len(b) < 32; i++ {
		if c := s[i]; c > ' ' && c < 0x7f && c != '{' && c != '}' {
			b = append(b, c)
		}
	}
	if len(b) == 0 {
		return ""
	}
	return "{" + string(b) + "}"
}
