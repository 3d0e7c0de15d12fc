// Package ioctltest compares what a package knows of the kernel's structures with the
// kernel's header.
package ioctltest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Header compares the value of each expression of C, such as "sizeof(struct
// i2c_msg)", with the header, such as "linux/i2c.h", as it is on the architecture that
// the test runs as. Without a compiler or the header it skips the test.
func Header(t *testing.T, header string, want map[string]uintptr) {
	t.Helper()
	cc, err := exec.LookPath("gcc")
	if _, missing := os.Stat(filepath.Join("/usr/include", header)); err != nil || missing != nil {
		t.Skip("packages missing: gcc, linux-libc-dev")
	}
	args := []string{"-fsyntax-only", "-x", "c", "-"}
	if runtime.GOARCH == "386" {
		// The kernel's headers are the same for both; only their folder's name is not.
		args = append(args, "-m32", "-I/usr/include/x86_64-linux-gnu")
	}
	var source strings.Builder
	fmt.Fprintf(&source, "#include <stddef.h>\n#include <%s>\n", header)
	for expr, value := range want {
		fmt.Fprintf(&source, "_Static_assert((%s) == %dull, %q);\n", expr, value, fmt.Sprintf("%s is not %d", expr, value))
	}
	cmd := exec.CommandContext(t.Context(), cc, args...)
	cmd.Stdin = strings.NewReader(source.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", header, err, out)
	}
}
