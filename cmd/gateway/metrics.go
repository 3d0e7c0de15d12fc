package main

import (
	"bytes"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// metrics writes the Prometheus text format, version 0.0.4. It replaces a
// library of 2 MB: the gateway counts by itself and only has to write it down.
type metrics struct {
	b    bytes.Buffer
	name string // of the family that was begun last
}

// The types of families.
const (
	counter = "counter"
	gauge   = "gauge"
)

// family begins a metric; its values follow.
func (m *metrics) family(name, kind, help string) {
	m.name = name
	m.b.WriteString("# HELP " + name + " " + help + "\n# TYPE " + name + " " + kind + "\n")
}

// value adds a value to the family; labels are names and values in turn.
func (m *metrics) value(v float64, labels ...string) {
	m.b.WriteString(m.name)
	for i := 0; i+1 < len(labels); i += 2 {
		m.b.WriteByte("{,"[min(i, 1)])
		m.b.WriteString(labels[i] + `="` + labelEscaper.Replace(labels[i+1]) + `"`)
	}
	if len(labels) > 1 {
		m.b.WriteByte('}')
	}
	m.b.WriteByte(' ')
	m.b.WriteString(strconv.FormatFloat(v, 'g', -1, 64))
	m.b.WriteByte('\n')
}

var labelEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// one adds a family of a single value without labels.
func (m *metrics) one(name, kind, help string, v float64) {
	m.family(name, kind, help)
	m.value(v)
}

// process adds what the Go runtime and the kernel say about this process.
func (m *metrics) process() {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	m.one("go_goroutines", gauge, "Goroutines that exist.", float64(runtime.NumGoroutine()))
	m.one("go_memstats_heap_alloc_bytes", gauge, "Bytes of heap objects.", float64(mem.HeapAlloc))
	m.one("go_memstats_sys_bytes", gauge, "Bytes obtained from the system.", float64(mem.Sys))
	if rss, ok := residentBytes(); ok {
		m.one("process_resident_memory_bytes", gauge, "Resident memory.", float64(rss))
	}
}

// residentBytes returns the memory of this process that is in RAM (proc(5)).
func residentBytes() (int64, bool) {
	f, err := os.Open("/proc/self/statm")
	if err != nil {
		return 0, false
	}
	defer f.Close()
	b := make([]byte, 128)
	n, err := f.Read(b)
	if err != nil && err != io.EOF {
		return 0, false
	}
	fields := strings.Fields(string(b[:n]))
	if len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err == nil
}
