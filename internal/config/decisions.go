package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"gantry/drivers/hub"
)

// Decisions keeps what people decide about devices that appear, as files that they
// could have written themselves: devices.d/NAME.toml for one that is accepted, and
// ignored.toml. Its methods are not called concurrently.
type Decisions struct {
	file string // the main file
	dir  string // the configuration directory; "" = there is none
}

var _ hub.Decisions = (*Decisions)(nil)

// Decisions returns the files beside the configuration.
func (c *Config) Decisions() *Decisions { return &Decisions{file: c.File, dir: c.dir} }

// Accept implements hub.Decisions. It never writes over a file.
func (d *Decisions) Accept(a hub.Acceptance) error {
	table := fmt.Sprintf("[device.%s]\ndriver = %q\nfound = %q\n", a.Device, a.Kind, a.ID)
	var b bytes.Buffer
	if about := oneLine(a.About); about != "" {
		b.WriteString("# " + about + "\n")
	}
	b.WriteString(table)
	return d.unwritable(d.create(a.Device, b.Bytes()), func(name string) string {
		return fmt.Sprintf("write a table [device.%s] with driver = %q and found = %q into %s and start the gateway again", a.Device, a.Kind, a.ID, name)
	}, filepath.Join(DeviceDir, a.Device+".toml"))
}

// oneLine makes a comment of text from outside.
func oneLine(s string) string {
	return fmt.Sprintf("%.200s", strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s))
}

// create writes a new device file.
func (d *Decisions) create(device string, text []byte) error {
	if d.dir == "" {
		return errNoDirectory
	}
	dir := filepath.Join(d.dir, DeviceDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp, err := newFile(dir, text)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	// A link, unlike a rename, does not replace what is there.
	if err := os.Link(tmp, filepath.Join(dir, device+".toml")); err != nil {
		return err
	}
	return syncDir(dir)
}

var errNoDirectory = errors.New("the configuration is a single file, which the gateway does not change")

// newFile writes a file under a name that the loader passes over.
func newFile(dir string, text []byte) (path string, err error) {
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		os.Remove(f.Name())
	}
	return f.Name(), err
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// unwritable says what a person can do where the gateway cannot write.
func (d *Decisions) unwritable(err error, instead func(file string) string, name string) error {
	file := filepath.Join(d.dir, name)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errNoDirectory):
		return fmt.Errorf("%w: %s", err, instead(d.file))
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s exists already; take another name, or that file away", file)
	}
	return fmt.Errorf("%w; make %s writable for the gateway, or %s", err, filepath.Dir(file), instead(file))
}

// Forget implements hub.Decisions: it removes the device's file, if there is
// nothing else in it.
func (d *Decisions) Forget(device string) error {
	file := filepath.Join(d.dir, DeviceDir, device+".toml")
	if d.dir == "" {
		return fmt.Errorf("%w: take [device.%s] out of %s and start the gateway again", errNoDirectory, device, d.file)
	}
	doc, err := read(file)
	if err != nil {
		return fmt.Errorf("%v: take [device.%s] out of the file where it is and start the gateway again", err, device)
	}
	tables, _ := doc.root["device"].(map[string]any)
	if len(doc.root) != 1 || len(tables) != 1 || tables[device] == nil {
		return fmt.Errorf("%s holds more than the device: take [device.%s] out of it and start the gateway again", file, device)
	}
	if err := os.Remove(file); err != nil {
		return fmt.Errorf("%w; make %s writable for the gateway, or remove the file and start the gateway again", err, filepath.Dir(file))
	}
	return syncDir(filepath.Dir(file))
}

// Ignore implements hub.Decisions.
func (d *Decisions) Ignore(keys []string) error {
	var b strings.Builder
	b.WriteString("# Devices that appear and are not wanted; \"gantry devices forget\" takes one out.\nignored = [\n")
	for _, key := range keys {
		b.WriteString("  " + strconv.Quote(key) + ",\n")
	}
	b.WriteString("]\n")
	return d.unwritable(d.replace(IgnoredFile, []byte(b.String())), func(name string) string {
		return "write ignored = [...] into " + name
	}, IgnoredFile)
}

// replace writes a file in the configuration directory, whole or not at all.
func (d *Decisions) replace(name string, text []byte) error {
	if d.dir == "" {
		return errNoDirectory
	}
	tmp, err := newFile(d.dir, text)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(d.dir, name)); err != nil {
		os.Remove(tmp)
		return err
	}
	return syncDir(d.dir)
}
