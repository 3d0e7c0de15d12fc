package main

import (
	"bytes"
	"cmp"
	"compress/flate"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"gantry/bridge/files"
	"gantry/bridge/uplink"
	"gantry/drivers/hub"
	"gantry/store"
	"gantry/wamp"
)

// What a support bundle may be.
const (
	maxPart     = 1 << 20 // bytes of one of its files
	keepBundles = 2       // of them on the gateway, the newest
	bundleMark  = "support-"
)

// supportProcedure returns gantry.<gateway>.sys.support.bundle.
func supportProcedure(gateway string) wamp.URI {
	return wamp.URI("gantry." + gateway + ".sys.support.bundle")
}

// bundler makes support bundles, one at a time, among the files of the gateway.
type bundler struct {
	*run
	session wamp.Session
	files   *files.Dir
	busy    sync.Mutex
}

// serveSupport registers the procedure that makes a bundle. It answers as
// gantry.<gateway>.sys.file.stat does.
func (r *run) serveSupport(ctx context.Context, s wamp.Session, d *files.Dir) error {
	b := &bundler{run: r, session: s, files: d}
	_, err := s.Register(ctx, supportProcedure(r.cfg.Gateway.Name), wamp.RegisterOptions{}, b.serve)
	return err
}

func (b *bundler) serve(ctx context.Context, _ *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
	if !b.busy.TryLock() {
		return wamp.Payload{}, wamp.NewError(wamp.ErrURIBusy, "a bundle is being made; ask again", nil)
	}
	defer b.busy.Unlock()
	content, err := b.bundle(ctx)
	if err != nil {
		return wamp.Payload{}, err
	}
	name := bundleMark + b.clock.Now().UTC().Format("20060102t150405.000z") + ".tar.gz"
	i, err := b.files.Put(name, keepBundles, content)
	return wamp.Args(i.Dict()), err
}

// bundlePart is one file of a bundle.
type bundlePart struct {
	name    string
	content []byte
}

// bundle returns a gzipped tar archive of what helps to find out what is wrong. What the
// configuration refers to as secret is in none of its parts, whoever wrote it there.
func (b *bundler) bundle(ctx context.Context) ([]byte, error) {
	tables, secrets, errs := b.cfg.Redacted(kinds())
	faults := wamp.List{}
	for _, e := range errs {
		faults = append(faults, fmt.Sprintf("%s:%d: %s", filepath.Base(e.File), e.Line, e.Key))
	}
	parts := []bundlePart{
		{"about.json", jsonPart(b.about())},
		{"config.json", jsonPart(wamp.Dict{"files": tables, "not_in_order": faults})},
		{"state.json", jsonPart(b.answers(ctx))},
		{"store.json", jsonPart(wamp.Dict{"outboxes": b.outboxes(), "files": stateFiles(b.state)})},
		{"metrics.txt", b.Gateway.metrics()},
		{"goroutines.txt", stacks()},
		{"system.txt", systemText()},
		{"log.txt", b.tail.Bytes()},
	}
	return pack(parts, b.clock.Now(), scrubber(secrets))
}

// scrubber replaces secrets, also as they stand in JSON and in quotes.
func scrubber(secrets []string) *strings.Replacer {
	texts := slices.Clone(secrets)
	for _, s := range secrets {
		for _, line := range strings.Split(s, "\n") { // of a key in several lines
			if len(line) > 3 {
				texts = append(texts, strings.Trim(strconv.Quote(line), `"`))
			}
		}
	}
	// The longest first, so that nothing is left of one that begins as another does.
	slices.SortFunc(texts, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	pairs := make([]string, 0, 2*len(texts))
	for _, s := range texts {
		pairs = append(pairs, s, "***")
	}
	return strings.NewReplacer(pairs...)
}

// jsonPart returns a value as JSON, or why it is none.
func jsonPart(v any) []byte {
	text, err := jsonOf(v)
	if err != nil {
		return []byte(err.Error())
	}
	return append(text, '\n')
}

// about tells which program runs where.
func (b *bundler) about() wamp.Dict {
	return wamp.Dict{
		"gateway": b.cfg.Gateway.Name, "realm": b.cfg.Gateway.Realm, "version": version, "built": built, "go": runtime.Version(),
		"os": runtime.GOOS, "arch": runtime.GOARCH, "cpus": runtime.NumCPU(),
		"now": b.clock.Now().UTC().Format(time.RFC3339), "clock_set": b.clock.Synced(), "uptime_s": int64(time.Since(b.started).Seconds()),
		"epoch": b.store.Epoch(), "http": b.addrs.HTTP, "mqtt": b.addrs.MQTT, "degraded": b.health.degraded(),
	}
}

// answers returns what the rooms tell about themselves, by procedure.
func (b *bundler) answers(ctx context.Context) wamp.Dict {
	gw := b.cfg.Gateway.Name
	all := wamp.Dict{}
	ask := []wamp.URI{hub.SysProcedure(gw, "list"), uplink.StatusProcedure(gw), files.Procedure(gw, "list"), "wamp.session.count"}
	if b.cfg.Gateway.Hub {
		ask = append(ask, wamp.URI("gantry."+gw+".sys.fleet.list"))
	}
	for _, procedure := range ask {
		p, err := b.session.Call(ctx, procedure, wamp.CallOptions{Timeout: 2000}, wamp.Payload{})
		if err != nil {
			all[string(procedure)] = err.Error()
			continue
		}
		all[string(procedure)] = payloadObject(p)
	}
	return all
}

// outboxes returns what the outboxes of the store count.
func (b *bundler) outboxes() wamp.Dict {
	all := wamp.Dict{}
	add := func(name string, o *store.Outbox) {
		if o != nil {
			all[name] = o.Counters()
		}
	}
	for _, q := range b.queues {
		if q.source == nil {
			add(q.name, q.outbox)
			add(q.name+" urgent", q.urgent)
		}
		add(q.name+" dead letters", q.dead)
	}
	for name, o := range b.parked {
		add(name+" parked", o)
	}
	for _, h := range b.histories {
		add("history "+h.cfg.Topic, h.box.Load())
	}
	return all
}

// stateFiles lists the files of the state directory with their sizes.
func stateFiles(dir string) wamp.Dict {
	all := wamp.Dict{}
	for _, level := range []string{"*", "*/*", "*/*/*"} {
		paths, _ := filepath.Glob(filepath.Join(dir, level)) // of our own directory, and no bad pattern
		for _, path := range paths[:min(len(paths), 1000)] {
			if info, err := os.Lstat(path); err == nil && !info.IsDir() {
				all[strings.TrimPrefix(path, dir)] = info.Size()
			}
		}
	}
	return all
}

// stacks returns what every goroutine does.
func stacks() []byte {
	b := make([]byte, maxPart)
	return b[:runtime.Stack(b, true)]
}

// systemText returns what the kernel tells about the machine and this process (proc(5)).
func systemText() []byte {
	var b bytes.Buffer
	for _, name := range []string{"/etc/os-release", "/proc/version", "/proc/loadavg", "/proc/uptime", "/proc/meminfo", "/proc/self/status", "/proc/self/limits"} {
		fmt.Fprintf(&b, "== %s\n", name)
		if f, err := os.Open(name); err == nil {
			_, _ = io.Copy(&b, io.LimitReader(f, 64<<10)) // what cannot be read is left out
			_ = f.Close()
		}
	}
	return b.Bytes()
}

// pack makes the archive. Of a part that is too large it takes the end, where the newest
// lines are.
func pack(parts []bundlePart, at time.Time, scrub *strings.Replacer) ([]byte, error) {
	var archive bytes.Buffer
	for _, p := range parts {
		content := scrub.Replace(string(p.content))
		if n := len(content); n > maxPart {
			content = "... the beginning is left out\n" + content[n-maxPart+64:]
		}
		head := tarHeader(p.name, len(content), at)
		archive.Write(head[:])
		archive.WriteString(content)
		archive.Write(make([]byte, (tarBlock-len(content)%tarBlock)%tarBlock))
	}
	archive.Write(make([]byte, 2*tarBlock))
	return zipped(archive.Bytes())
}

// zipped returns content in the form of RFC 1952. The library's writer, and that of
// archives, would cost the program more than all of the bundle.
func zipped(content []byte) ([]byte, error) {
	out := bytes.NewBufferString("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
	z, err := flate.NewWriter(out, flate.DefaultCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(content); err != nil {
		return nil, err
	}
	err = z.Close()
	end := binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(content))
	out.Write(binary.LittleEndian.AppendUint32(end, uint32(len(content))))
	return out.Bytes(), err
}

const tarBlock = 512

// tarHeader returns the header of a file (POSIX.1-1988, ustar).
func tarHeader(name string, size int, at time.Time) (h [tarBlock]byte) {
	copy(h[0:], name)
	copy(h[100:], "0000600\x000000000\x000000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x00%011o\x00        0", size, max(at.Unix(), 0)))
	copy(h[257:], "ustar\x0000")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}
