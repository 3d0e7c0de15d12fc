package wamp_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"testing"

	"gantry/wamp"
)

func TestIDRange(t *testing.T) {
	t.Parallel()
	for id, want := range map[wamp.ID]bool{
		0: false, 1: true, 1 << 53: true, 1<<53 + 1: false, 1<<64 - 1: false,
	} {
		if id.Valid() != want {
			t.Errorf("%d: %v", id, !want)
		}
	}
}

func TestNextIDWrapsToOne(t *testing.T) {
	t.Parallel()
	for id, want := range map[wamp.ID]wamp.ID{0: 1, 1: 2, wamp.MaxID - 1: wamp.MaxID, wamp.MaxID: 1} {
		if got := wamp.NextID(id); got != want {
			t.Errorf("after %d: %d, want %d", id, got, want)
		}
	}
}

func TestRandomIDCoversTheWholeRange(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		random []byte
		want   wamp.ID
	}{
		"all bits clear": {make([]byte, 8), 1},
		"all bits set":   {bytes.Repeat([]byte{0xff}, 8), wamp.MaxID},
		"the low bits":   {[]byte{0xff, 0xe0, 0, 0, 0, 0, 0, 41}, 42},
	} {
		id, err := wamp.RandomID(bytes.NewReader(tt.random))
		if err != nil || id != tt.want {
			t.Errorf("%s: %d %v, want %d", name, id, err, tt.want)
		}
	}
	var and, or wamp.ID = wamp.MaxID - 1, 0
	for range 500 {
		id, err := wamp.RandomID(rand.Reader)
		if err != nil || !id.Valid() {
			t.Fatal(id, err)
		}
		and, or = and&(id-1), or|(id-1)
	}
	if and != 0 || or != wamp.MaxID-1 {
		t.Errorf("bits that never change: %b %b", and, or)
	}
}

func TestRandomIDReturnsTheSourcesError(t *testing.T) {
	t.Parallel()
	if _, err := wamp.RandomID(bytes.NewReader(make([]byte, 7))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}
