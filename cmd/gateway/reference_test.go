package main

import (
	"encoding"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"gantry/drivers/hub"
	"gantry/internal/config"
)

// TestReferenceExplainsEveryKey walks the configuration structs of all rooms.
func TestReferenceExplainsEveryKey(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference.toml"))
	if err != nil {
		t.Fatal(err)
	}
	reference := string(b)
	roots := []any{config.Config{}, hub.DeviceConfig{}}
	for _, k := range kinds() {
		roots = append(roots, k.Config())
	}
	keys := map[string]string{}
	for _, root := range roots {
		tags(reflect.TypeOf(root), reflect.TypeOf(root).String(), keys)
	}
	if len(keys) < 60 {
		t.Errorf("only %d keys found", len(keys))
	}
	for key, where := range keys {
		mentioned := regexp.MustCompile(`(?m)(^|[ .\[{#])` + key + `( =|\]|\.)`)
		if !mentioned.MatchString(reference) {
			t.Errorf("docs/reference.toml does not explain %s (%s)", key, where)
		}
	}
}

// tags gathers the TOML keys of a struct and of everything inside it.
func tags(typ reflect.Type, where string, keys map[string]string) {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || reflect.PointerTo(typ).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return
	}
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		if name != "" {
			keys[name] = where + "." + f.Name
		}
		if strings.HasPrefix(f.Type.String(), "drivers.Kind") {
			continue
		}
		tags(f.Type, where+"."+f.Name, keys)
	}
}
