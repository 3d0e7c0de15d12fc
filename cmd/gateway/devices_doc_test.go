package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gantry/bridge/shapes"
	"gantry/internal/config"
)

// TestSamplesOfDevicesAreInOrder loads the samples of all pages as users would: each
// that names a driver as a device file, as it is typed; one that goes on with a device
// of the page together with what it goes on with; the rest in gantry.toml.
func TestSamplesOfDevicesAreInOrder(t *testing.T) {
	t.Parallel()
	// What a page leaves out of the device that its fragment is about.
	left := map[string]string{"drivers/frame.md": `[device.dust]
driver = "frame"
port = { usb = "1a86:7523" }
frame = { kind = "fixed", start = "AA", end = "AB", size = 10 }
checksum = { kind = "sum8", from = 2 }
[device.dust.message.working]
match = { 1 = "C5 06" }
[device.dust.point.working]
message = "working"
at = 4
type = "bool"
`}
	pages := 0
	for _, pattern := range []string{"*.md", "drivers/*.md"} {
		files, err := filepath.Glob(filepath.Join("..", "..", "docs", filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			page := path.Join(path.Dir(pattern), filepath.Base(file))
			samples := strings.Split(readDoc(t, page), "```toml\n")[1:]
			if len(samples) == 0 {
				continue
			}
			pages++
			if head := left[page]; head != "" {
				samples = append([]string{head}, samples...)
			}
			t.Run(page, func(t *testing.T) { loadSamples(t, samples) })
		}
	}
	if pages < 20 {
		t.Errorf("only %d pages have samples", pages)
	}
}

// loadSamples loads the samples of a page; what follows their end is cut off.
func loadSamples(t *testing.T, samples []string) {
	t.Helper()
	typed, joined := map[string]string{}, map[string]string{}
	main, devices := "schema = 1\n", map[string]string{} // the file of each device
	for i, sample := range samples {
		sample, _, _ = strings.Cut(sample, "```")
		device := deviceInSample.FindStringSubmatch(sample)
		switch {
		case device == nil:
			main = joinTables(main, sample)
		case strings.Contains(sample, "\ndriver ="):
			file := fmt.Sprintf("devices.d/sample%d.toml", i+1)
			typed[file], joined[file] = sample, sample
			for _, d := range deviceInSample.FindAllStringSubmatch(sample, -1) {
				devices[d[1]] = file
			}
		default:
			file := devices[device[1]]
			joined[file] = joinTables(joined[file], sample)
		}
	}
	for _, files := range []map[string]string{typed, joined} {
		files["gantry.toml"] = main
		cfg, errs := config.Load(writeFiles(t, files), kinds())
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		if len(cfg.Devices) != len(devices) {
			t.Errorf("%d devices, want %d", len(cfg.Devices), len(devices))
		}
	}
}

// deviceInSample finds the devices in a sample.
var deviceInSample = regexp.MustCompile(`(?m)^\[device\.([a-z0-9_]+)[.\]]`)

// joinTables puts what two texts say about one table together.
func joinTables(a, b string) string {
	for _, table := range regexp.MustCompile(`(?m)^\[`).Split(b, -1)[1:] {
		head, body, _ := strings.Cut("["+table, "\n")
		head, _, _ = strings.Cut(head, " ")
		before, after, found := strings.Cut(a, head)
		if line, rest, ok := strings.Cut(after, "\n"); found && ok && !strings.HasPrefix(head, "[[") {
			a = before + head + line + "\n" + body + rest
		} else {
			a += head + "\n" + body
		}
	}
	return a
}

// TestEveryDriverIsDocumented wants of each driver what a user looks for: a page, the
// keys, a configuration to start from, which other tests load.
func TestEveryDriverIsDocumented(t *testing.T) {
	t.Parallel()
	reference := readDoc(t, "reference.toml")
	var examples strings.Builder
	files, err := filepath.Glob(filepath.Join("..", "..", "examples", "*", "devices.d", "*.toml"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join("..", "..", "examples", "*", "gantry.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, more...) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		examples.Write(b)
	}
	list := regexp.MustCompile(`(?m)^driver = .*# required: (.*)$`).FindStringSubmatch(reference)
	if list == nil {
		t.Fatal("reference.toml does not list the drivers")
	}
	var names []string
	page, index := readDoc(t, "shapes.md"), readDoc(t, "devices.md")
	shaped := map[string]bool{}
	for _, k := range shapes.Kinds() {
		// They are named in a broker's table, and need no file.
		if shaped[k.Name] = true; !strings.Contains(page, `"`+k.Name+`"`) {
			t.Errorf("docs/shapes.md does not say %q", k.Name)
		}
	}
	for _, k := range kinds() {
		if shaped[k.Name] {
			continue
		}
		names = append(names, k.Name)
		if !strings.Contains(index, "(drivers/"+k.Name+".md)") {
			t.Errorf("docs/devices.md does not list the driver %s", k.Name)
		}
		key := fmt.Sprintf("driver = %q", k.Name)
		start := key
		if k.Finder != nil { // whose devices need no file
			start = "[discovery." + k.Name + "]"
		}
		for where, text := range map[string]string{"docs/drivers/" + k.Name + ".md": readDoc(t, "drivers/"+k.Name+".md"), "docs/reference.toml": reference} {
			if !strings.Contains(text, key) && !strings.Contains(text, start) {
				t.Errorf("%s does not say %s", where, key)
			}
		}
		if !strings.Contains(examples.String(), start) {
			t.Errorf("no example has %s", start)
		}
	}
	if want := strings.Join(names, ", "); list[1] != want {
		t.Errorf("reference.toml lists %s, there are %s", list[1], want)
	}
}

// TestEveryPageIsLinked wants the README to lead to every page.
func TestEveryPageIsLinked(t *testing.T) {
	t.Parallel()
	readme := readDoc(t, "../README.md")
	pages, err := filepath.Glob(filepath.Join("..", "..", "docs", "*.*"))
	if err != nil || len(pages) < 20 {
		t.Fatal(pages, err)
	}
	for _, p := range pages {
		if !strings.Contains(readme, "](docs/"+filepath.Base(p)+")") {
			t.Errorf("README.md has no link to docs/%s", filepath.Base(p))
		}
	}
}

// readDoc returns a page of docs.
func readDoc(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", filepath.FromSlash(page)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestEveryDriverPassesTheSuite wants of each driver that its tests run what all
// drivers pass, and what keeps garbage from becoming a value.
func TestEveryDriverPassesTheSuite(t *testing.T) {
	t.Parallel()
	exempt := map[string]string{
		"gpio drivertest.GarbageIsNoValue(": "each answer of the kernel about a line is a level: there is nothing that cannot be decoded",
	}
	for _, k := range shapes.Kinds() {
		exempt[k.Name+" drivertest.Test("] = "its devices are messages of a broker, which bridge/shapes is tested with"
		exempt[k.Name+" drivertest.GarbageIsNoValue("] = exempt[k.Name+" drivertest.Test("]
	}
	for _, k := range kinds() {
		files, err := filepath.Glob(filepath.Join("..", "..", "drivers", k.Name, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		var tests strings.Builder
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			tests.Write(b)
		}
		for _, call := range []string{"drivertest.Test(", "drivertest.GarbageIsNoValue("} {
			wanted := exempt[k.Name+" "+call] == ""
			if has := strings.Contains(tests.String(), call); has != wanted {
				t.Errorf("drivers/%s: tests call %s) = %v, want %v", k.Name, call, has, wanted)
			}
		}
	}
}
