package bridge

import "fmt"

// ConfigError tells which key of a configuration is wrong and what would be
// right. The loader adds file and line.
type ConfigError struct {
	Key     string // dotted, relative to the bridge's table: "map[0].topic"
	Text    string // what is wrong
	Allowed string // what is allowed; may be empty
}

// Error returns key, text and what is allowed.
func (e *ConfigError) Error() string {
	s := e.Key + ": " + e.Text
	if e.Allowed != "" {
		s += "; allowed: " + e.Allowed
	}
	return s
}

// bad is a shorthand for the error of one key.
func bad(key, allowed, format string, args ...any) error {
	return &ConfigError{Key: key, Text: fmt.Sprintf(format, args...), Allowed: allowed}
}
