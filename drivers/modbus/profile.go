package modbus

import (
	"embed"
	"fmt"
	"path"
	"strings"

	"gantry/drivers"
	"gantry/drivers/serialport"
)

// Profile describes the registers of a device on the market. The shipped ones are
// TOML files in the folder profiles.
type Profile struct {
	Description string                `toml:"description"` // what the device is
	Source      string                `toml:"source"`      // the document that the registers are from
	Note        string                `toml:"note"`        // what has to be known or set at the device
	UnitID      *uint8                `toml:"unit_id"`     // as shipped
	Line        serialport.LineConfig `toml:"line"`        // as shipped
	Base        uint16                `toml:"base"`        // added to all addresses
	Read        ReadConfig            `toml:"read"`

	AnswerTimeout drivers.Duration `toml:"answer_timeout"` // for devices slower than most

	// Default holds what the points do not say themselves.
	Default ProfileDefault          `toml:"default"`
	Points  map[string]ProfilePoint `toml:"point"`
}

// ProfileDefault is what most points of a profile have in common.
type ProfileDefault struct {
	Table string `toml:"table"`
	Type  string `toml:"type"`
	Order string `toml:"order"`
}

// ProfilePoint is a point, and what the hub is told about it.
type ProfilePoint struct {
	PointConfig
	Description string  `toml:"description"`
	Unit        string  `toml:"unit"`   // UCUM code of the scaled value
	Scale       float64 `toml:"scale"`  // 0 = 1
	Offset      float64 `toml:"offset"` // scaled value = registers * scale + offset
}

//go:embed profiles/*.toml
var profileFiles embed.FS

// Decoder fills a struct with TOML tags from the text of a file, strictly.
type Decoder func(file string, text []byte, into any) error

// ProfileNames returns the names of the shipped profiles, sorted.
func ProfileNames() []string {
	// The folder is part of the program.
	entries, _ := profileFiles.ReadDir("profiles")
	list := make([]string, len(entries))
	for i, e := range entries {
		list[i] = strings.TrimSuffix(e.Name(), ".toml")
	}
	return list
}

// LoadProfile returns the shipped profile of the name.
func LoadProfile(name string, decode Decoder) (*Profile, error) {
	text, err := profileFiles.ReadFile(path.Join("profiles", name+".toml"))
	if err != nil {
		return nil, bad("profile", strings.Join(ProfileNames(), ", "), "%.64q is unknown", name)
	}
	p := &Profile{}
	if err := decode("profile "+name, text, p); err != nil {
		return nil, fmt.Errorf("profile %s: %w", name, err)
	}
	for id, pt := range p.Points {
		if pt.Table == "" {
			pt.Table = p.Default.Table
		}
		if t, ok := parseTable(pt.Table); !ok || !t.bits() {
			if pt.Type == "" {
				pt.Type = p.Default.Type
			}
			// The order is meant for values of its length.
			if n, _ := TypeRegisters(pt.Type); pt.Order == "" && 2*int(n) == len(p.Default.Order) {
				pt.Order = p.Default.Order
			}
		}
		p.Points[id] = pt
	}
	return p, nil
}
