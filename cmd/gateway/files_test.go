package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gantry/bridge/files"
	"gantry/internal/mosquitto"
	"gantry/wamp/client"
)

// TestFilesGoOnAfterAKill kills the gateway in the middle of a file that is sent, and has
// one fetched of which a part is there.
func TestFilesGoOnAfterAKill(t *testing.T) {
	t.Parallel()
	config, state, dir := writeFiles(t, map[string]string{"gantry.toml": laterConfig}), t.TempDir(), t.TempDir()
	content := bytes.Repeat([]byte("0123456789abcdef"), 40_000) // three pieces
	sum := sha256.Sum256(content)
	from, to := filepath.Join(dir, "image.bin"), filepath.Join(dir, "back.bin")
	if err := os.WriteFile(from, content, 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, config, state)
	s := p.join()
	begin := func(s *client.Session) int64 {
		t.Helper()
		at, err := client.Call[int64](t.Context(), s, files.Procedure("hq", "begin"), "image.bin", int64(len(content)), hex.EncodeToString(sum[:]))
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	begin(s)
	if _, err := client.Call[int64](t.Context(), s, files.Procedure("hq", "chunk"), "image.bin", int64(0), content[:files.MaxChunk]); err != nil {
		t.Fatal(err)
	}
	p.kill()
	p = startProgram(t, config, state)
	if at := begin(p.join()); at != files.MaxChunk {
		t.Errorf("after the kill it goes on at %d", at)
	}
	p.command("file", "put", from)
	if err := os.WriteFile(to+".part", content[:100_000], 0o600); err != nil {
		t.Fatal(err)
	}
	p.command("file", "get", "image.bin", to)
	if back, err := os.ReadFile(to); !bytes.Equal(back, content) || err != nil {
		t.Errorf("%d bytes came back, %v", len(back), err)
	}
	if out := p.command("file", "list"); !strings.Contains(out, "image.bin  640000  640000  false") {
		t.Errorf("list:\n%s", out)
	}
	p.command("file", "rm", "image.bin")
	p.stop()
}

// TestFilesFromPython sends a file with Autobahn|Python, which is interrupted once.
func TestFilesFromPython(t *testing.T) {
	t.Parallel()
	mosquitto.Need(t, "/usr/bin/python3", "python3")
	if err := exec.Command("/usr/bin/python3", "-c", "import autobahn").Run(); err != nil {
		if os.Getenv("GANTRY_REQUIRE_PEERS") == "1" {
			t.Fatal("package missing: python3-autobahn")
		}
		t.Skip("package missing: python3-autobahn")
	}
	p := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": laterConfig}), t.TempDir())
	for _, c := range []struct {
		pieces []string
		want   string
	}{{[]string{"3"}, "began at 0\n"}, {nil, "began at 3000\nsame\n"}} {
		out, err := exec.CommandContext(t.Context(), "/usr/bin/python3", append([]string{"testdata/transfer.py", p.url, "hq", "log.bin"}, c.pieces...)...).Output()
		if string(out) != c.want || err != nil {
			t.Errorf("%v: %q, %v", c.pieces, out, err)
		}
	}
	p.stop()
}

// TestFilesSurviveKillsOfEitherSide kills the client and the gateway in turn, wherever
// they happen to be, and has the command run again.
func TestFilesSurviveKillsOfEitherSide(t *testing.T) {
	t.Parallel()
	config, state, dir := writeFiles(t, map[string]string{"gantry.toml": laterConfig}), t.TempDir(), t.TempDir()
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	content := make([]byte, 12<<20)
	for i := range content {
		content[i] = byte(random.Uint32())
	}
	from, to := filepath.Join(dir, "image.bin"), filepath.Join(dir, "back.bin")
	if err := os.WriteFile(from, content, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, config, state)
	for _, args := range [][]string{{"file", "put", from}, {"file", "get", "image.bin", to}} {
		for round := range 6 {
			cmd := exec.Command(self, args...)
			cmd.Env = append(os.Environ(), asProgram+"=1", "GANTRY_URL="+p.url)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			pause(t, time.Duration(random.IntN(150))*time.Millisecond)
			if round%2 == 0 {
				_ = cmd.Process.Kill() // it may have ended
			} else {
				p.kill()
				p = startProgram(t, config, state)
			}
			_ = cmd.Wait() // how it ends does not matter
		}
		p.command(args...)
	}
	if back, err := os.ReadFile(to); !bytes.Equal(back, content) || err != nil {
		t.Errorf("seed %d: %d bytes came back, %v", seed, len(back), err)
	}
	if _, err := os.Stat(to + ".part"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("seed %d: something is left: %v", seed, err)
	}
	p.stop()
}
