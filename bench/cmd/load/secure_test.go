package main

import (
	"bytes"
	"compress/flate"
	"strings"
	"testing"
)

func TestInflaterReadsMessagesAgain(t *testing.T) {
	var f inflater
	for _, want := range []string{"one", strings.Repeat("two", 1000), "one", ""} {
		var b bytes.Buffer
		w, err := flate.NewWriter(&b, flate.BestSpeed)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte(want))
		_ = w.Flush()
		got, err := f.inflate(bytes.TrimSuffix(b.Bytes(), []byte("\x00\x00\xff\xff")))
		if err != nil || string(got) != want {
			t.Errorf("%q, %v; expected %q", got, err, want)
		}
	}
	if _, err := f.inflate([]byte{0xff}); err == nil {
		t.Error("what is no compressed message is read")
	}
}
