package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"gantry/bridge/files"
	"gantry/store"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/transport"
)

// partSuffix ends the name of a file of which a part has been fetched.
const partSuffix = ".part"

// startFiles serves the directory of files, and what makes support bundles there.
func (r *run) startFiles(ctx context.Context) error {
	path := filepath.Join(r.state, "files")
	d, err := files.Open(files.Config{Path: path, Own: bundleMark, Room: func(size int64) error { return store.Room(path, size, 0) }})
	if err != nil {
		return err
	}
	r.front.run("files", func(ctx context.Context) error {
		<-ctx.Done()
		return d.Close()
	})
	s, err := r.join(ctx, "files", transport.PipeConfig{})
	if err != nil {
		return err
	}
	return errors.Join(files.Serve(ctx, s, r.cfg.Gateway.Name, r.cfg.Listen.AnonymousRole, d), r.serveSupport(ctx, s, d))
}

func (a *app) fileCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "file",
		Short: "Send files to a gateway, and fetch them",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("file needs a subcommand: put, get, list, rm")}
		},
	}
	cmd.AddCommand(
		a.fileVerb("put FILE [NAME]", "Send a file, going on where it was interrupted", 1, 2, a.putFile),
		a.fileVerb("get NAME [FILE]", "Fetch a file, going on where it was interrupted", 1, 2, a.getFile),
		a.fileVerb("list", "List the files of a gateway", 0, 0, func(ctx context.Context, s *client.Session, gw string, _ []string) error {
			list, err := client.Call[wamp.List](ctx, s, files.Procedure(gw, "list"))
			if err != nil {
				return err
			}
			return a.showRows(list, []string{"name", "size", "offset", "partial"}, false)
		}),
		a.fileVerb("rm NAME", "Remove a file of a gateway", 1, 1, func(ctx context.Context, s *client.Session, gw string, words []string) error {
			_, err := client.Call[string](ctx, s, files.Procedure(gw, "remove"), words[0])
			return err
		}),
	)
	return cmd
}

func (a *app) fileVerb(use, short string, least, most int, do func(ctx context.Context, s *client.Session, gw string, words []string) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Long:  short + ". Files have up to 64 MiB, and their SHA-256 is checked (docs/files.md).\n" + gatewayHelp,
		Args:  cobra.RangeArgs(least, most),
	}
	r, gateway := a.remoteFlags(cmd), gatewayFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		return a.with(cmd.Context(), r, func(s *client.Session) error {
			gw, err := gatewayOf(cmd.Context(), s, *gateway)
			if err != nil {
				return err
			}
			return do(cmd.Context(), s, gw, words)
		})
	}
	return cmd
}

// fileSum returns the size and the SHA-256 of a file, and leaves it at its end.
func fileSum(f *os.File) (size int64, sum string, err error) {
	h := sha256.New()
	size, err = io.Copy(h, f)
	return size, hex.EncodeToString(h.Sum(nil)), err
}

func (a *app) putFile(ctx context.Context, s *client.Session, gw string, words []string) error {
	name := filepath.Base(words[0])
	if len(words) == 2 {
		name = words[1]
	}
	f, err := os.Open(words[0])
	if err != nil {
		return err
	}
	defer f.Close()
	size, sum, err := fileSum(f)
	if err != nil {
		return err
	}
	offset, err := client.Call[int64](ctx, s, files.Procedure(gw, "begin"), name, size, sum)
	b := make([]byte, files.MaxChunk)
	for p := newPieces(); err == nil && offset < size; p.taken() {
		n, rerr := f.ReadAt(b[:p.size], offset)
		if n == 0 {
			return fmt.Errorf("read %s: %w", words[0], rerr)
		}
		offset, err = client.Call[int64](ctx, s, files.Procedure(gw, "chunk"), name, offset, b[:n])
	}
	if err != nil {
		return err
	}
	_, err = client.Call[string](ctx, s, files.Procedure(gw, "end"), name)
	return err
}

// getFile fetches into FILE.part, which becomes FILE once its sum is right. What is there
// already stays if the file begins with it.
func (a *app) getFile(ctx context.Context, s *client.Session, gw string, words []string) error {
	// The name comes from the command line, but must not lead elsewhere all the same.
	to := filepath.Base(words[0])
	if len(words) == 2 {
		to = words[1]
	}
	f, err := os.OpenFile(to+partSuffix, os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return err
	}
	defer f.Close()
	offset, start, err := fileSum(f)
	if err != nil {
		return err
	}
	about, err := client.Call[wamp.Dict](ctx, s, files.Procedure(gw, "stat"), words[0], offset)
	if err != nil {
		if offset == 0 {
			err = errors.Join(err, os.Remove(to+partSuffix))
		}
		return err
	}
	if offset > 0 && about["sha256_start"] != start {
		fmt.Fprintf(a.err, "gantry: %s%s is of another file; fetching from the start\n", to, partSuffix)
		offset = 0
		if err := f.Truncate(0); err != nil {
			return err
		}
	}
	if err := fetch(ctx, s, gw, words[0], f, offset); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, sum, err := fileSum(f)
	if err != nil {
		return err
	}
	if sum != about["sha256"] {
		return errors.Join(fmt.Errorf("%s: the SHA-256 is another one: the file has changed meanwhile; what was there is removed, fetch it again", to), os.Remove(to+partSuffix))
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(to+partSuffix, to)
}

// fetch appends what follows offset to f.
func fetch(ctx context.Context, s *client.Session, gw, name string, f *os.File, offset int64) error {
	for p := newPieces(); ; p.taken() {
		b, err := client.Call[[]byte](ctx, s, files.Procedure(gw, "read"), name, offset, p.size)
		if err != nil || len(b) == 0 {
			return err
		}
		if _, err := f.WriteAt(b, offset); err != nil {
			return err
		}
		offset += int64(len(b))
	}
}

// pieces chooses the size of pieces so that each takes about a second: what a line that
// is cut again and again has carried must not be lost, and a fast one not wait.
type pieces struct {
	size  int64
	since time.Time
}

func newPieces() *pieces { return &pieces{size: 32 << 10, since: time.Now()} }

// taken is told that a piece has gone over.
func (p *pieces) taken() {
	now := time.Now()
	switch took := now.Sub(p.since); {
	case took < 500*time.Millisecond:
		p.size = min(2*p.size, files.MaxChunk)
	case took > 2*time.Second:
		p.size = max(p.size/2, 4<<10)
	}
	p.since = now
}
