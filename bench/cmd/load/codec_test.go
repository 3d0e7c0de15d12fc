package main

import "testing"

func TestHeadReadsWhatTemplatesWrite(t *testing.T) {
	t.Parallel()
	for name, f := range formatNames {
		for _, id := range []uint64{1, 23, 24, 127, 128, 300, 70_000, 1 << 40} {
			m := newTemplate(f, 48, dict{}, "x", text(100))
			b := append(appendInt(append([]byte{}, m.before...), f, id), m.after...)
			if kind, got := head(f, b); kind != 48 || got != id {
				t.Errorf("%s: read %d %d, want 48 %d", name, kind, got, id)
			}
			at := len(b) - markFromEnd(f, text(100))
			if b[at-1] != markLetter {
				t.Errorf("%s: no mark at %d of %q", name, at, b)
			}
			putHex(b[at:], id)
			if got := readHex(b[at:]); got != id {
				t.Errorf("%s: mark is %d, want %d", name, got, id)
			}
		}
	}
}
