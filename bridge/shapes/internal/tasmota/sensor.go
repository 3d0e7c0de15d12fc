package tasmota

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"gantry/bridge/shapes/internal/shape"
	"gantry/drivers"
)

// quantities are the units of what Tasmota's sensors call by a fixed name. Source:
// arendst/Tasmota, tasmota/include/i18n.h (D_JSON_*), and the units that its web page shows.
var quantities = shape.Table(`
Temperature Cel|DewPoint Cel|HeatIndex Cel|Humidity %|Moisture %|Pressure hPa|SeaPressure hPa
Voltage V|Current A|Power W|ApparentPower V.A|ReactivePower V.A{reactive}|Frequency Hz
Total kW.h|Today kW.h|Yesterday kW.h|Period W.h|ExportActive kW.h|ImportActive kW.h
ActivePower W|ImportPower W|ExportPower W|MaxPower W|SolarPower W|Pv1Power W|Pv2Power W|Pv1Voltage V|Pv2Voltage V|Pv1Current A|Pv2Current A
CurrentNeutral A|PhaseAngle deg|TotalActive kW.h|ResetTotalActive kW.h|TotalTariff kW.h|ExportTariff kW.h|TodaySumImport kW.h|TodaySumExport kW.h
ImportReactive kV.A.h{reactive}|ExportReactive kV.A.h{reactive}|TotalReactive kV.A.h{reactive}|Vcc V
Illuminance lx|CarbonDioxide [ppm]|eCO2 [ppm]|TVOC [ppb]|CO2 [ppm]
PM1 ug/m3|PM2.5 ug/m3|PM10 ug/m3|CF1 ug/m3|CF2.5 ug/m3|CF10 ug/m3
PB0.3 /dL|PB0.5 /dL|PB1 /dL|PB2.5 /dL|PB5 /dL|PB10 /dL|aHumidity g/m3|Oxygen %|pH [pH]|ORP mV|EC uS/cm|UvPower W/m2|FlowRate L/min|BatteryPercentage %
ChipTemperature Cel|ProbeTemperature Cel|ReferenceTemperature Cel
Distance cm|Weight kg|Noise dB|Speed km/h|WindSpeed km/h|Rain mm|Gas kOhm|Battery %|Altitude m|Flow L/min
`)

// scaled names the key of a message that says in which unit a quantity is.
var scaled = map[string]string{
	"Temperature": "TempUnit", "DewPoint": "TempUnit", "HeatIndex": "TempUnit", "ChipTemperature": "TempUnit", "ProbeTemperature": "TempUnit", "ReferenceTemperature": "TempUnit",
	"Pressure": "PressureUnit", "SeaPressure": "PressureUnit", "Speed": "SpeedUnit", "WindSpeed": "SpeedUnit",
}

// places are the points of a device's own state, and where they are.
var places = []struct {
	path []string
	drivers.Point
}{
	{[]string{"Wifi", "RSSI"}, drivers.Point{ID: "wifi_quality", Type: drivers.Float, Unit: "%"}},
	{[]string{"Wifi", "Signal"}, drivers.Point{ID: "wifi_signal", Type: drivers.Float, Unit: "dB{mW}"}},
	{[]string{"UptimeSec"}, drivers.Point{ID: "uptime", Type: drivers.Float, Unit: "s"}},
}

// sensor is a point of SENSOR and the keys that lead to it.
type sensor struct {
	drivers.Point
	path []string
}

// sensors returns the points of a SENSOR message, by ID.
func sensors(sn map[string]any) map[string]sensor {
	out := map[string]sensor{}
	for _, group := range slices.Sorted(maps.Keys(sn)) {
		if strings.HasPrefix(group, "Shutter") { // known from the discovery message
			continue
		}
		walk(out, sn, []string{group}, sn[group])
	}
	return out
}

func walk(out map[string]sensor, sn map[string]any, path []string, v any) {
	if len(path) > 4 || len(out) >= shape.MaxPoints {
		return
	}
	key := path[len(path)-1]
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			walk(out, sn, append(slices.Clone(path), k), v[k])
		}
		return
	case []any:
		for i, x := range v[:min(len(v), 8)] {
			walk(out, sn, append(slices.Clone(path), strconv.Itoa(i+1)), x)
		}
		return
	case string:
		if len(path) == 1 && !strings.HasPrefix(key, "Switch") { // Time, TempUnit
			return
		}
	}
	name := path
	if path[0] == "ENERGY" || len(path) > 1 && path[0] == "ANALOG" {
		name = path[1:]
	}
	id := shape.Name(spaced(strings.Join(name, "_")))
	if id == "" {
		return
	}
	s := sensor{drivers.Point{ID: id, Type: drivers.Float, Readable: true}, path}
	switch v.(type) {
	case string:
		s.Type = drivers.Text
		if strings.HasPrefix(key, "Switch") {
			s.Type = drivers.Bool
		}
	case bool:
		s.Type = drivers.Bool
	}
	if s.Type == drivers.Float {
		s.Unit = unit(sn, path)
	}
	if _, taken := out[id]; !taken {
		out[id] = s
	}
}

// spaced puts a blank between a small letter and a capital: SeaPressure.
func spaced(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if i > 1 && s[i] >= 'A' && s[i] <= 'Z' && s[i-1] >= 'a' && s[i-1] <= 'z' {
			b.WriteByte(' ')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// unit returns the UCUM code of a sensor's value: that of its name, the index of a
// list of phases left out.
func unit(sn map[string]any, path []string) string {
	key := path[len(path)-1]
	if _, err := strconv.Atoi(key); err == nil && len(path) > 1 {
		key = path[len(path)-2]
	}
	if said := shape.Text(sn[scaled[key]]); said != "" {
		return shape.Unit(said)
	}
	return quantities[key]
}

// find returns what is at the path of a sensor, through lists as well.
func find(v any, path []string) (any, bool) {
	for _, k := range path {
		switch in := v.(type) {
		case map[string]any:
			x, ok := in[k]
			if !ok {
				return nil, false
			}
			v = x
		case []any:
			i, err := strconv.Atoi(k)
			if err != nil || i < 1 || i > len(in) {
				return nil, false
			}
			v = in[i-1]
		default:
			return nil, false
		}
	}
	return v, true
}
