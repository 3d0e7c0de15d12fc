package hass

// Command reads the payload of a command for a point of a type.
func Command(typ string, payload []byte) (any, error) { return entity{typ: typ}.value(payload) }

// State writes the state of a point.
func State(v any, quality string) string { return state(v, quality) }
