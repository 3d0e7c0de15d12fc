package lyingfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ForTest mounts a file system for a test and returns where. It skips where there is no
// FUSE, or fails where that has to be there (GANTRY_REQUIRE_PEERS).
func ForTest(t testing.TB) (*FS, string) {
	t.Helper()
	dir := t.TempDir()
	f, err := Mount(dir)
	if err != nil {
		if os.Getenv("GANTRY_REQUIRE_PEERS") != "" {
			t.Fatal(err)
		}
		t.Skip("no file system in user space: ", err)
	}
	t.Cleanup(func() {
		err := f.Unmount()
		// A process that is being born has all that is open for a moment.
		for late := time.Now().Add(time.Minute); err != nil && time.Now().Before(late); {
			err = f.Unmount() // waits a little before it gives up
		}
		if err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return f, dir
}

// Ext4 mounts an empty ext4 of that many bytes on a device of its own, to compare with, and
// returns where, and the name of the device. It skips where that is not allowed.
func Ext4(t testing.TB, size int64) (dir, device string) {
	t.Helper()
	dir, image := t.TempDir(), filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{{"mkfs.ext4", "-q", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no disk of its own: %v: %v %s", words, err, out)
		}
	}
	t.Cleanup(func() {
		// Lazily: a process that is being born has all that is open for a moment.
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	out, err := exec.Command("findmnt", "-n", "-o", "SOURCE", dir).Output()
	if err != nil {
		t.Skip("no findmnt: ", err)
	}
	return dir, filepath.Base(strings.TrimSpace(string(out)))
}
