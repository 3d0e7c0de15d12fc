// Package ioctltest compares what a package knows of the kernel's structures with the
// kernel's header.
package ioctltest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Header compiles each expression of C, such as "sizeof(struct i2c_msg)", with the
// header, such as "linux/i2c.h", and compares its value. Without a compiler or the
// header it skips the test.
func Header(t *testing.T, header string, want map[string]uintptr) {
	t.Helper()
	cc, err := exec.LookPath("gcc")
	if _, missing := os.Stat(filepath.Join("/usr/include", header)); err != nil || missing != nil {
		t.Skip("packages missing: gcc, linux-libc-dev")
	}
	var source strings.Builder
	fmt.Fprintf(&source, "#include <stddef.h>\n#include <stdio.h>\n#include <%s>\nint main(void) {\n", header)
	for expr := range want {
		fmt.Fprintf(&source, "printf(\"%%s=%%llu\\n\", %q, (unsigned long long)(%s));\n", expr, expr)
	}
	source.WriteString("return 0; }\n")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.c"), []byte(source.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), cc, "-o", filepath.Join(dir, "a"), filepath.Join(dir, "a.c")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(dir, "a")).Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		expr, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		seen++
		if value != fmt.Sprint(want[expr]) {
			t.Errorf("%s is %s, not %d", expr, value, want[expr])
		}
	}
	if seen != len(want) {
		t.Errorf("%d of %d answers", seen, len(want))
	}
}
