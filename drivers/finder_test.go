package drivers_test

import (
	"strings"
	"testing"

	"gantry/drivers"
)

func TestFoundConfigTakesIdentities(t *testing.T) {
	t.Parallel()
	for id, ok := range map[string]bool{
		"1": true, "house/0x00124b0001.x:y_Z-9": true, strings.Repeat("a", 128): true,
		"": false, "a b": false, "a,b": false, "a;b": false, "ä": false, "a[b": false, "a\x00": false, strings.Repeat("a", 129): false,
	} {
		if err := (&drivers.FoundConfig{Found: id}).Validate(); (err == nil) != ok {
			t.Errorf("%.140q: %v", id, err)
		}
	}
}

func TestOneCandidateIsOneDevice(t *testing.T) {
	t.Parallel()
	wrong := drivers.FoundKind("node").Agree(map[string]any{
		"b": &drivers.FoundConfig{Found: "1"}, "a": &drivers.FoundConfig{Found: "1"}, "c": &drivers.FoundConfig{Found: "2"},
	})
	if len(wrong) != 1 || wrong["b"] == nil || wrong["b"].Error() != `found: "1" is device a; allowed: each once` {
		t.Errorf("wrong: %v", wrong)
	}
}
