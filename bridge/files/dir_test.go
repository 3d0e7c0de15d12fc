package files

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"gantry/wamp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestAFileGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	path, content := t.TempDir(), bytes.Repeat([]byte("gantry"), 100)
	sum, _ := sumOf(bytes.NewReader(content))
	d := open(t, path)
	if at, err := d.begin("a.bin", 600, sum); at != 0 || err != nil {
		t.Fatal(at, err)
	}
	if at, err := d.chunk("a.bin", 0, content[:250]); at != 250 || err != nil {
		t.Fatal(at, err)
	}
	for _, bad := range []int64{0, 249, 251, -1} {
		if _, err := d.chunk("a.bin", bad, content[:1]); !wamp.IsError(err, wamp.ErrURIOutOfRange) {
			t.Errorf("at %d: %v", bad, err)
		}
	}
	if err := d.end("a.bin"); !wamp.IsError(err, wamp.ErrURIOutOfRange) {
		t.Errorf("ended early: %v", err)
	}
	d = open(t, path)
	at, err := d.begin("a.bin", 600, sum)
	if at != 250 || err != nil {
		t.Fatal(at, err)
	}
	if _, err := d.chunk("a.bin", 250, append(content[250:], 'x')); !wamp.IsError(err, wamp.ErrURIOutOfRange) {
		t.Errorf("more than was announced: %v", err)
	}
	if _, err := d.chunk("a.bin", 250, content[250:]); err != nil {
		t.Fatal(err)
	}
	if err := d.end("a.bin"); err != nil {
		t.Fatal(err)
	}
	if i, err := d.stat("a.bin"); i.SHA256 != sum || err != nil {
		t.Errorf("%+v, %v", i, err)
	}
	if b, err := d.read("a.bin", 590, 100); !bytes.Equal(b, content[590:]) || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if err := d.remove("a.bin"); err != nil {
		t.Error(err)
	}
	if all, err := d.list(); len(all) != 0 || err != nil {
		t.Error(all, err)
	}
}

func TestAnotherContentThanAnnounced(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir())
	if _, err := d.begin("a", 1, strings.Repeat("0", 64)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.chunk("a", 0, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := d.end("a"); !wamp.IsError(err, wamp.ErrURINotVerified) {
		t.Error(err)
	}
	if all, err := d.list(); len(all) != 0 || err != nil {
		t.Error(all, err)
	}
}

// TestNothingOutsideIsTouched offers names that lead elsewhere, and a link that somebody
// has put into the directory.
func TestNothingOutsideIsTouched(t *testing.T) {
	t.Parallel()
	path, secret := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := open(t, path)
	if err := os.Symlink(secret, filepath.Join(path, whole, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", ".", "..", "../x", "/etc/passwd", "a/b", "a\x00", "a,1", ".x", "-x", strings.Repeat("a", 101), "link"} {
		if b, err := d.read(name, 0, 100); err == nil {
			t.Errorf("read %q: %q", name, b)
		}
		if _, err := d.begin(name, 1, strings.Repeat("0", 64)); err == nil && name != "link" {
			t.Errorf("begin %q", name)
		}
	}
}

func TestRoom(t *testing.T) {
	t.Parallel()
	d, sum := open(t, t.TempDir()), strings.Repeat("0", 64)
	for i, want := range []bool{true, true, true, true, false} {
		if _, err := d.begin(string(rune('a'+i)), MaxFile, sum); (err == nil) != want || err != nil && !wamp.IsError(err, wamp.ErrURILimit) {
			t.Errorf("file %d: %v", i, err)
		}
	}
	if _, err := d.begin("x", MaxFile+1, sum); !wamp.IsError(err, wamp.ErrURILimit) {
		t.Error(err)
	}
}
