package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gantry/bridge/files"
	"gantry/internal/badline"
	"gantry/wamp"
	"gantry/wamp/client"
)

// badLine returns a line to the program, and the URL that leads over it.
func (p *program) badLine(rate int) (*badline.Line, string) {
	p.t.Helper()
	l := badline.New(p.t, p.host(), rate)
	return l, "ws://" + l.Addr() + "/ws"
}

// commandAt runs a command over another way to the program.
func (p *program) commandAt(url string, args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	a := newApp(bytes.NewReader(nil), &o, &e, func(k string) string { return map[string]string{"GANTRY_URL": url}[k] })
	code = a.main(p.t.Context(), args)
	return code, o.String(), e.String()
}

// sizeOf returns the bytes of a file, 0 where there is none.
func sizeOf(name string) int64 {
	info, err := os.Stat(name)
	if err != nil {
		return 0
	}
	return info.Size()
}

func noise(n int) []byte {
	random, b := rand.New(rand.NewPCG(7, uint64(n))), make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

// TestFilesOverALineThatIsCut sends and fetches a file over a line that is cut several
// times, after each of which it goes on where it was.
func TestFilesOverALineThatIsCut(t *testing.T) {
	t.Parallel()
	p, dir := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": laterConfig}), t.TempDir()), t.TempDir()
	from, to := filepath.Join(dir, "image.bin"), filepath.Join(dir, "back.bin")
	content := noise(1 << 20)
	if err := os.WriteFile(from, content, 0o600); err != nil {
		t.Fatal(err)
	}
	l, url := p.badLine(0)
	for _, args := range [][]string{{"file", "put", "--gateway", "hq", from}, {"file", "get", "--gateway", "hq", "image.bin", to}} {
		l.Budget.Store(300_000)
		for range 3 {
			if code, _, errs := p.commandAt(url, args...); code == exitOK || strings.Contains(errs, "from the start") {
				t.Errorf("%v over a line for 300,000 bytes: code %d, %s", args, code, errs)
			}
		}
		there := sizeOf(to + partSuffix)
		if args[1] == "put" {
			list, err := client.Call[wamp.List](t.Context(), p.join(), files.Procedure("hq", "list"))
			if len(list) != 1 || err != nil {
				t.Fatalf("after the cuts: %v, %v", list, err)
			}
			there, _ = list[0].(wamp.Dict)["offset"].(int64)
		}
		if there < 250_000 || there > 900_000 {
			t.Errorf("%v: after three cuts %d bytes are there", args, there)
		}
		l.Budget.Store(0)
		if code, _, errs := p.commandAt(url, args...); code != exitOK {
			t.Fatalf("%v: %s", args, errs)
		}
	}
	if back, err := os.ReadFile(to); !bytes.Equal(back, content) || err != nil {
		t.Errorf("%d bytes came back, %v", len(back), err)
	}
	p.stop()
}

// TestAFileThatChangesMeanwhile has a file replaced before, and while, the rest of it is
// fetched.
func TestAFileThatChangesMeanwhile(t *testing.T) {
	t.Parallel()
	p, dir := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": laterConfig}), t.TempDir()), t.TempDir()
	from, to := filepath.Join(dir, "a.bin"), filepath.Join(dir, "back.bin")
	put := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(from, content, 0o600); err != nil {
			t.Fatal(err)
		}
		p.command("file", "put", "--gateway", "hq", from)
	}
	get := []string{"file", "get", "--gateway", "hq", "a.bin", to}
	old, next, last := noise(300_000), noise(400_000), noise(500_000)
	put(next)
	if err := os.WriteFile(to+partSuffix, old[:100_000], 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errs := p.commandAt(p.url, get...)
	if back, err := os.ReadFile(to); code != exitOK || !strings.Contains(errs, "of another file") || !bytes.Equal(back, next) || err != nil {
		t.Errorf("over a part of another file: code %d, %s, %d bytes, %v", code, errs, len(back), err)
	}
	l, url := p.badLine(100_000)
	var fetching sync.WaitGroup
	fetching.Go(func() { code, _, errs = p.commandAt(url, get...) })
	eventually(t, "first piece", func() bool { return sizeOf(to+partSuffix) > 0 })
	l.Gate.Lock() // however long it takes to replace the file
	put(last)
	l.Gate.Unlock()
	fetching.Wait()
	if code != exitFailed || !strings.Contains(errs, "changed meanwhile") || sizeOf(to+partSuffix) != 0 {
		t.Errorf("replaced while it was fetched: code %d, %s", code, errs)
	}
	if l.Made.Load() != 1 {
		t.Errorf("%d connections", l.Made.Load())
	}
	p.command(get...)
	if back, err := os.ReadFile(to); !bytes.Equal(back, last) || err != nil {
		t.Errorf("then: %d bytes, %v", len(back), err)
	}
	if code, _, errs := p.commandAt(p.url, "file", "get", "--gateway", "hq", "nothing", to+"2"); code != exitFailed || sizeOf(to+"2"+partSuffix) != 0 {
		t.Errorf("a file that is not there: code %d, %s", code, errs)
	}
	if _, err := os.Stat(to + "2" + partSuffix); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is left of it: %v", err)
	}
	p.stop()
}

const keptConfig = `schema = 1
gateway.name = "hq"
mqtt.listen = ""
[[history]]
topic = "t."
match = "prefix"
commit = "confirmed"
`

// TestHistoryExport exports a history over a line that is cut, over a kill of the
// gateway, and once more when there is more.
func TestHistoryExport(t *testing.T) {
	t.Parallel()
	config, state := writeFiles(t, map[string]string{"gantry.toml": keptConfig}), t.TempDir()
	p := startProgram(t, config, state)
	published := 0
	publish := func(n int) {
		t.Helper()
		s := p.join()
		for i := range n {
			o := wamp.PublishOptions{Acknowledge: i == n-1}
			if err := s.Publish(t.Context(), wamp.URI(fmt.Sprint("t.", published%7)), o, wamp.Values(wamp.List{published}, wamp.Dict{"note": strings.Repeat("x", 100)})); err != nil {
				t.Fatal(err)
			}
			published++
		}
	}
	publish(5000)
	file := filepath.Join(t.TempDir(), "t.jsonl")
	args := []string{"history", "export", "t.", "--match", "prefix", "-o", file}
	check := func(want int) {
		t.Helper()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		record := int64(0)
		for i, line := range lines {
			var ev struct {
				Record int64 `json:"_record"`
				Args   []int `json:"args"`
			}
			if err := json.Unmarshal([]byte(line), &ev); err != nil || len(ev.Args) != 1 || ev.Args[0] != i || ev.Record <= record {
				t.Fatalf("line %d: %s, %v", i+1, line, err)
			}
			record = ev.Record
		}
		if len(lines) != want {
			t.Errorf("%d lines of %d", len(lines), want)
		}
	}
	l, url := p.badLine(0)
	l.Budget.Store(600_000)
	for range 2 {
		before := sizeOf(file)
		code, _, errs := p.commandAt(url, args...)
		if code != exitFailed || !strings.Contains(errs, "go on by --after") || sizeOf(file) < before+100_000 {
			t.Errorf("over a line for 600,000 bytes: code %d, %s, %d bytes, before %d", code, errs, sizeOf(file), before)
		}
		// As if it had been killed while it wrote.
		if f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0); err == nil {
			_, _ = f.WriteString(`{"_record":99999,"ar`)
			_ = f.Close()
		}
	}
	p.kill()
	p = startProgram(t, config, state)
	p.command(args...)
	check(5000)
	publish(1234)
	p.command(args...)
	check(6234)
	p.command(args...)
	check(6234)

	if out := p.command("history", "export", "t.", "--match", "prefix", "--after", "6230"); strings.Count(out, "\n") != 4 {
		t.Errorf("behind record 6230: %s", out)
	}
	for what, text := range map[string]string{
		"of another history": `{"_record":6234,"args":[6233],"publication":1}` + "\n",
		"is no export":       "notes",
		"no event":           "notes\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, errs := p.commandAt(p.url, args...); code != exitFailed {
			t.Errorf("%s: code %d, %s", what, code, errs)
		}
		if now, err := os.ReadFile(file); string(now) != text || err != nil {
			t.Errorf("%s: became %q, %v", what, now, err)
		}
	}
	if code, _, errs := p.commandAt(p.url, "history", "export", "nothing"); code != exitFailed || !strings.Contains(errs, "[[history]]") {
		t.Errorf("nothing is kept: code %d, %s", code, errs)
	}
	p.stop()
}
