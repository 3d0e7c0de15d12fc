package lyingfs

import (
	"os"
	"testing"
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
		if err := f.Unmount(); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return f, dir
}
