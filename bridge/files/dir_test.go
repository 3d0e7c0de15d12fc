package files

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gantry/wamp"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(onSmallDisk); dir != "" {
		os.Exit(smallDisk(dir))
	}
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(Config{Path: path, Own: "own-", Room: func(int64) error { return nil }})
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
	if at, err := d.begin("", "a.bin", 600, sum); at != 0 || err != nil {
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
	at, err := d.begin("", "a.bin", 600, sum)
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
	if i, _, err := d.stat("a.bin", 0); i.SHA256 != sum || err != nil {
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
	if _, err := d.begin("", "a", 1, strings.Repeat("0", 64)); err != nil {
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
		if _, err := d.begin("", name, 1, strings.Repeat("0", 64)); err == nil && name != "link" {
			t.Errorf("begin %q", name)
		}
	}
}

func TestRoom(t *testing.T) {
	t.Parallel()
	d, sum := open(t, t.TempDir()), strings.Repeat("0", 64)
	for i, want := range []bool{true, true, true, true, false} {
		if _, err := d.begin("", string(rune('a'+i)), MaxFile, sum); (err == nil) != want || err != nil && !wamp.IsError(err, wamp.ErrURILimit) {
			t.Errorf("file %d: %v", i, err)
		}
	}
	if _, err := d.begin("", "x", MaxFile+1, sum); !wamp.IsError(err, wamp.ErrURILimit) {
		t.Error(err)
	}
}

func TestAUserHasFewFilesUnderWay(t *testing.T) {
	t.Parallel()
	d, sum := open(t, t.TempDir()), strings.Repeat("0", 64)
	begin := func(user, name string, size int64) error {
		_, err := d.begin(user, name, size, sum)
		return err
	}
	for i := range maxOwn {
		if err := begin("ann", string(rune('a'+i)), 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := begin("ann", "z", 1); !wamp.IsError(err, wamp.ErrURILimit) {
		t.Errorf("one more: %v", err)
	}
	if err := begin("ann", "a", 1); err != nil {
		t.Errorf("one of them again: %v", err)
	}
	if err := begin("bob", "z", 1); err != nil {
		t.Errorf("somebody else: %v", err)
	}
	if err := begin("bob", "a", 2); !wamp.IsError(err, wamp.ErrURIBusy) {
		t.Errorf("another file in place of what is under way: %v", err)
	}
	if err := begin("ann", "a", 2); err != nil {
		t.Errorf("another file in place of one's own: %v", err)
	}
	if err := d.remove("b"); err != nil {
		t.Error(err)
	}
	if err := begin("ann", "y", 1); err != nil {
		t.Errorf("after one was removed: %v", err)
	}
}

// TestAbandonedFilesGiveTheirPlace fills a directory with files under way, which makes
// room for others only when they have not grown for long.
func TestAbandonedFilesGiveTheirPlace(t *testing.T) {
	t.Parallel()
	path, sum := t.TempDir(), strings.Repeat("0", 64)
	d := open(t, path)
	for i := range maxFiles {
		if _, err := d.begin(fmt.Sprint("user", i), fmt.Sprint("f", i), 1, sum); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.begin("late", "late", 1, sum); !wamp.IsError(err, wamp.ErrURILimit) {
		t.Errorf("one more: %v", err)
	}
	long := time.Now().Add(-2 * abandoned)
	if err := os.Chtimes(filepath.Join(path, part(Info{Name: "f7", Size: 1, SHA256: sum})), long, long); err != nil {
		t.Fatal(err)
	}
	if _, err := d.begin("late", "late", 1, sum); err != nil {
		t.Errorf("one more in place of an abandoned one: %v", err)
	}
	if _, err := d.chunk("f7", 0, []byte("x")); err == nil {
		t.Error("the abandoned one is still there")
	}
}

// TestOwnFilesTakeNoRoom puts files of the gateway into a directory that is full for
// others, also behind one that was left half written.
func TestOwnFilesTakeNoRoom(t *testing.T) {
	t.Parallel()
	path, sum := t.TempDir(), strings.Repeat("0", 64)
	d := open(t, path)
	for i := range maxFiles {
		if _, err := d.begin(fmt.Sprint(i), fmt.Sprint("f", i), 1, sum); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(path, parts, "own"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"own-1", "own-2", "own-3"} {
		if i, err := d.Put(name, 2, []byte(name)); i.Size != 5 || err != nil {
			t.Fatal(i, err)
		}
	}
	var names []string
	all, err := d.list()
	for _, i := range all {
		if !i.Partial {
			names = append(names, i.Name)
		}
	}
	if fmt.Sprint(names) != "[own-2 own-3]" || len(all) != maxFiles+2 || err != nil {
		t.Error(len(all), names, err)
	}
	if i, start, err := d.stat("own-3", 3); i.SHA256 == "" || start != hex.EncodeToString(sumBytes("own")) || err != nil {
		t.Error(i, start, err)
	}
	if _, start, err := d.stat("own-3", 6); start != "" || err != nil {
		t.Error("the sum of more than there is:", start, err)
	}
}

// TestOwnFilesAreTheGateways has users beside the gateway's own files: they have all of their
// own room, and no say in which of those are kept.
func TestOwnFilesAreTheGateways(t *testing.T) {
	t.Parallel()
	d, sum := open(t, t.TempDir()), strings.Repeat("0", 64)
	if _, err := d.begin("ann", "own-9", 1, sum); !wamp.IsError(err, wamp.ErrURIInvalidArgument) {
		t.Errorf("a user sends a file of the gateway's: %v", err)
	}
	// The clock is set back before the last one.
	for _, name := range []string{"own-2026", "own-2027", "own-1970"} {
		if _, err := d.Put(name, 2, []byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, there := range map[string]bool{"own-1970": true, "own-2026": false, "own-2027": true} {
		if _, _, err := d.stat(name, 0); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range maxFiles {
		if _, err := d.begin(fmt.Sprint("user", i), fmt.Sprint("f", i), 1, sum); err != nil {
			t.Fatalf("file %d: %v", i, err)
		}
	}
	if _, err := d.begin("late", "late", 1, sum); !wamp.IsError(err, wamp.ErrURILimit) {
		t.Errorf("one more: %v", err)
	}
}

func sumBytes(s string) []byte { b := sha256.Sum256([]byte(s)); return b[:] }

func TestNoRoomOnTheDisk(t *testing.T) {
	t.Parallel()
	d, err := Open(Config{Path: t.TempDir(), Room: func(int64) error { return errors.New("full") }})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.begin("", "a", 1, strings.Repeat("0", 64)); !wamp.IsError(err, wamp.ErrURIStorageFull) {
		t.Error(err)
	}
	if _, err := d.Put("own-1", 2, nil); !wamp.IsError(err, wamp.ErrURIStorageFull) {
		t.Error(err)
	}
}

// onSmallDisk in the environment names the directory for a small disk.
const onSmallDisk = "GANTRY_TEST_FILES_ON_SMALL_DISK"

// TestFullDisk fills a real disk, in a process of its own that may mount one.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), onSmallDisk+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() == 77 {
		t.Skipf("no user namespace here: %v %s", err, out)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func smallDisk(dir string) int {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		fmt.Println(err)
		return 77
	}
	if err := fillSmallDisk(dir); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func fillSmallDisk(dir string) error {
	d, err := Open(Config{Path: dir, Room: func(int64) error { return nil }})
	if err != nil {
		return err
	}
	defer d.Close()
	content := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	sum, _ := sumOf(bytes.NewReader(content))
	at, err := d.begin("", "a", int64(len(content)), sum)
	for err == nil {
		at, err = d.chunk("a", at, content[at:at+100_000])
	}
	if !wamp.IsError(err, wamp.ErrURIStorageFull) {
		return fmt.Errorf("full at %d: %w", at, err)
	}
	if _, err := d.Put("own-1", 2, content); !wamp.IsError(err, wamp.ErrURIStorageFull) {
		return fmt.Errorf("put: %w", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=4m"); err != nil {
		return err
	}
	if at, err = d.begin("", "a", int64(len(content)), sum); err != nil || at < 300_000 {
		return fmt.Errorf("with room again it goes on at %d: %w", at, err)
	}
	for at < int64(len(content)) {
		if at, err = d.chunk("a", at, content[at:min(at+100_000, int64(len(content)))]); err != nil {
			return err
		}
	}
	return d.end("a")
}
