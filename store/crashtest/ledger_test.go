package crashtest

import (
	"strings"
	"testing"
)

// ledger returns the ledger of some lines.
func ledger(t *testing.T, lines ...string) *Ledger {
	t.Helper()
	l := &Ledger{}
	for _, line := range lines {
		if err := l.Note(line); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// TestLedgerCatches shows that every kind of broken promise is seen, and that what is
// allowed is not taken for one.
func TestLedgerCatches(t *testing.T) {
	told := []string{"open 1 a", "offer 1", "ok 1 1", "offer 2", "ok 2 2", "offer 3", "taken 3 3", "offer 4", "ok 4 4", "offer 5"}
	item := func(seq, n uint64) Item { return Item{Epoch: 1, Seq: seq, N: n} }
	whole := []Item{item(1, 1), item(2, 2), item(3, 3), item(4, 4)}
	tests := []struct {
		name  string
		more  []string
		found Found
		mode  Mode
		want  string // kind of fault; "" = none
	}{
		{name: "all is there", found: Found{Items: whole}, mode: Mode{Honest: true}},
		{name: "a taken record may be lost", found: Found{Items: []Item{item(1, 1), item(2, 2), {Epoch: 2, Seq: 3, Lost: 1}, item(4, 4)}}, mode: Mode{Honest: true}},
		{name: "a taken record is lost in silence", more: []string{"cursor 2"}, found: Found{Acked: 2, Items: []Item{item(3, 9)}}, mode: Mode{Honest: true}, want: "gap"},
		{name: "a crash is told of where it begins", more: []string{"offer 6", "taken 6 5", "offer 7", "taken 7 6"}, mode: Mode{Honest: true},
			found: Found{Items: append(whole[:4:4], Item{Epoch: 2, Seq: 5, Lost: 1, Why: "crash"})}},
		{name: "another gap does not stand for it", more: []string{"offer 6", "taken 6 5", "offer 7", "taken 7 6"}, mode: Mode{Honest: true}, want: "gap",
			found: Found{Items: append(whole[:4:4], Item{Epoch: 2, Seq: 5, Lost: 1, Why: "max_bytes"})}},
		{name: "but not once it is flushed", more: []string{"flushed 3"}, mode: Mode{Honest: true}, want: "lost",
			found: Found{Items: []Item{item(1, 1), item(2, 2), {Epoch: 2, Seq: 3, Lost: 1}, item(4, 4)}}},
		{name: "an acknowledged record is lost", found: Found{Items: whole[:3]}, mode: Mode{Honest: true}, want: "lost"},
		{name: "the reader was done with it", more: []string{"cursor 4"}, found: Found{Acked: 3, Items: whole[3:]}, mode: Mode{Honest: true}},
		{name: "the cursor is ahead", found: Found{Acked: 4}, mode: Mode{Honest: true}, want: "cursor"},
		{name: "another reader is behind", more: []string{"cursor 4", "cursor 1 slow"}, mode: Mode{Honest: true},
			found: Found{Acked: 4, Others: map[string]Reading{"slow": {1, whole[1:]}}}},
		{name: "another reader misses a record", more: []string{"cursor 4", "cursor 1 slow"}, mode: Mode{Honest: true}, want: "lost",
			found: Found{Acked: 4, Others: map[string]Reading{"slow": {1, whole[1:3]}}}},
		{name: "another reader's cursor is ahead", more: []string{"cursor 4", "cursor 1 slow"}, mode: Mode{Honest: true}, want: "cursor",
			found: Found{Acked: 4, Others: map[string]Reading{"slow": {2, whole[2:]}}}},
		{name: "dropped at a bound", found: Found{Items: []Item{{Epoch: 2, Seq: 2, Lost: 2}, item(3, 3), item(4, 4)}}, mode: Mode{Honest: true, Bounded: true}},
		{name: "the end is lost on a lying disk", found: Found{Items: whole[:3]}},
		{name: "the middle is, and nothing says so", found: Found{Items: []Item{item(1, 1), item(4, 4)}}, want: "order"},
		{name: "a cursor that passes what is lost", found: Found{Acked: 3, Items: whole[3:]}, want: "gap"},
		{name: "the middle is, and the reader is told", found: Found{Items: []Item{item(1, 1), {Epoch: 2, Seq: 3, Lost: 2}, item(4, 4)}}},
		{name: "altered", found: Found{Items: []Item{item(1, 1), item(2, 2), item(3, 3), {Epoch: 1, Seq: 4, Foreign: true}}}, mode: Mode{Honest: true}, want: "altered"},
		{name: "under another number", found: Found{Items: []Item{item(1, 2), item(2, 1), item(3, 3), item(4, 4)}}, mode: Mode{Honest: true}, want: "altered"},
		{name: "invented", found: Found{Items: append(whole[:4:4], item(5, 9))}, mode: Mode{Honest: true}, want: "invented"},
		{name: "offered, outcome not known", found: Found{Items: append(whole[:4:4], item(5, 5))}, mode: Mode{Honest: true}},
		{name: "out of order", found: Found{Items: []Item{item(2, 2), item(1, 1), item(3, 3), item(4, 4)}}, mode: Mode{Honest: true}, want: "order"},
		{name: "an epoch twice", found: Found{Epoch: 1, Items: whole}, mode: Mode{Honest: true}, want: "identity"},
		{name: "an epoch twice, which the disk shows", found: Found{Epoch: 1, Items: whole}, want: "identity"},
		{name: "an epoch twice, of which nothing is left", found: Found{Epoch: 1}},
		{name: "an entry changed", more: []string{"put 7 20", "done 7 20", "put 7 21"}, mode: Mode{Honest: true},
			found: Found{Items: whole, Entries: map[uint64]uint64{7: 21, 7 + Twin: 21}}},
		{name: "an entry is as before", more: []string{"put 7 20", "done 7 20", "put 7 21", "done 7 21"}, mode: Mode{Honest: true}, want: "lost",
			found: Found{Items: whole, Entries: map[uint64]uint64{7: 20, 7 + Twin: 20}}},
		{name: "half a change", more: []string{"put 7 20", "done 7 20", "put 7 21"}, mode: Mode{Honest: true}, want: "altered",
			found: Found{Items: whole, Entries: map[uint64]uint64{7: 21, 7 + Twin: 20}}},
		{name: "no entry of ours", more: []string{"put 7 20", "done 7 20"}, want: "altered",
			found: Found{Items: whole, Entries: map[uint64]uint64{7: 0, 7 + Twin: 20}}},
		{name: "the outbox beside has its own", more: []string{"beside open 1 b", "beside offer 20", "beside ok 20 1"}, mode: Mode{Honest: true},
			found: Found{Items: whole, Beside: &Found{Epoch: 2, ID: "b", Wrote: true, Items: []Item{item(1, 20)}}}},
		{name: "the outbox beside has lost a record", more: []string{"beside open 1 b", "beside offer 20", "beside ok 20 1"}, mode: Mode{Honest: true}, want: "lost",
			found: Found{Items: whole, Beside: &Found{Epoch: 2, ID: "b", Wrote: true}}},
		{name: "the outbox beside is gone", more: []string{"beside open 1 b"}, mode: Mode{Honest: true}, want: "write", found: Found{Items: whole}},
		{name: "no more can be written", found: Found{Why: "append: store is full", Items: whole}, mode: Mode{Honest: true}, want: "write"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := tt.found
			f.ID, f.Wrote = "a", f.Why == ""
			if f.Epoch == 0 {
				f.Epoch = 2
			}
			bad := ledger(t, append(told[:len(told):len(told)], tt.more...)...).Check(&f, tt.mode)
			seen := ""
			for _, b := range bad {
				kind, _, _ := strings.Cut(b, ":")
				if seen = kind; kind == tt.want {
					break
				}
			}
			if seen != tt.want {
				t.Errorf("got %q, want a fault of kind %q", bad, tt.want)
			}
		})
	}
}

func TestLedgerRefusesNonsense(t *testing.T) {
	for _, line := range []string{"", "ok", "ok x 1", "ok 1 x", "offer 1 2 3", "what 1 2"} {
		if err := new(Ledger).Note(line); err == nil {
			t.Errorf("%q was taken", line)
		}
	}
}

// TestReadTrace reads calls as strace prints them, with one that another thread's
// interrupt.
func TestReadTrace(t *testing.T) {
	const text = `11 mkdirat(AT_FDCWD</w>, "/d/up", 0700)     = 0
11 openat(AT_FDCWD</w>, "\x2f\x64\x2f\x75\x70\x2f\x61", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 7</d/up/a>
11 pwrite64(7</d/up/a>, "\x00\x22\x2c", 3, 4096) = 3
11 fdatasync(7</d/up/a> <unfinished ...>
12 pwrite64(7</d/up/a>, "\x01", 1, 0 <unfinished ...>
11 <... fdatasync resumed>)         = 0
12 <... pwrite64 resumed>)          = 1
12 write(3</l>, "\x6f\x6b\x0a", 3) = 3
12 write(2</e>, "\x6f", 1) = 1
11 renameat(AT_FDCWD</w>, "/d/up/a", AT_FDCWD</w>, "/d/up/b") = 0
11 fsync(8</d/up>)       = 0
11 unlinkat(AT_FDCWD</w>, "/d/up/c", 0) = -1 ENOENT (No such file or directory)
11 ftruncate(7</d/up/b>, 512) = 0
11 unlinkat(AT_FDCWD</w>, "/d/up/b", 0) = 0
11 +++ exited with 0 +++
`
	trace, err := ReadTrace(strings.NewReader(text), "/d", "/l", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []Op{
		{Kind: OpMkdir, Path: "up"}, {Kind: OpCreate, Path: "up/a"}, {Kind: OpWrite, Path: "up/a", Data: []byte("\x00\",")}, {Kind: OpWrite, Path: "up/a", Data: []byte{1}},
		{Kind: OpSync, Path: "up/a", From: 3}, {Kind: OpNote, Data: []byte("ok")}, {Kind: OpRename, Path: "up/a", To: "up/b"}, {Kind: OpSync, Path: "up", From: 7},
		{Kind: OpTruncate, Path: "up/b", Offset: 512}, {Kind: OpRemove, Path: "up/b"},
	}
	if len(trace.Ops) != len(want) {
		t.Fatalf("%d steps: %+v", len(trace.Ops), trace.Ops)
	}
	for i, w := range want {
		got := trace.Ops[i]
		if got.Kind != w.Kind || got.Path != w.Path || got.To != w.To || string(got.Data) != string(w.Data) || w.Kind == OpSync && got.From != w.From {
			t.Errorf("step %d: got %+v, want %+v", i, got, w)
		}
	}
}

// TestDiskKeepsWhatIsSynced plays a birth and a renaming, and cuts the power at each
// step.
func TestDiskKeepsWhatIsSynced(t *testing.T) {
	ops := []Op{
		{Kind: OpCreate, Path: "a.new"},
		{Kind: OpWrite, Path: "a.new", Data: []byte("one")},
		{Kind: OpSync, Path: "a.new", From: 2},
		{Kind: OpRename, Path: "a.new", To: "a"},
		{Kind: OpSync, Path: ".", From: 4},
		{Kind: OpWrite, Path: "a", Data: []byte("two")},
		{Kind: OpTruncate, Path: "a", Offset: 1},
	}
	for at, want := range []struct{ none, all string }{
		{"", "a.new="}, {"", "a.new=one"}, {"", "a.new=one"}, {"", "a=one"}, {"a=one", "a=one"}, {"a=one", "a=two"}, {"a=one", "a=t"},
	} {
		d := NewDisk()
		for i := range ops[:at+1] {
			d.Do(&ops[i], true)
		}
		for cut, text := range map[Cut]string{CutNone: want.none, CutAll: want.all} {
			got := ""
			for path, b := range d.Image(cut, nil) {
				got += path + "=" + string(b)
			}
			if got != text {
				t.Errorf("after step %d, cut %d: %q, want %q", at, cut, got, text)
			}
		}
	}
}
