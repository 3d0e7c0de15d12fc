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

	"github.com/spf13/cobra"

	"gantry/bridge/files"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/transport"
)

// startFiles serves the directory of files.
func (r *run) startFiles(ctx context.Context) error {
	d, err := files.Open(filepath.Join(r.state, "files"))
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
	return files.Serve(ctx, s, r.cfg.Gateway.Name, d)
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
	for err == nil && offset < size {
		n, rerr := f.ReadAt(b, offset)
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

// getFile fetches into FILE.part, which becomes FILE once its sum is right.
func (a *app) getFile(ctx context.Context, s *client.Session, gw string, words []string) error {
	// The name comes from the command line, but must not lead elsewhere all the same.
	to := filepath.Base(words[0])
	if len(words) == 2 {
		to = words[1]
	}
	about, err := client.Call[wamp.Dict](ctx, s, files.Procedure(gw, "stat"), words[0])
	if err != nil {
		return err
	}
	f, err := os.OpenFile(to+".part", os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return err
	}
	defer f.Close()
	offset, err := f.Seek(0, io.SeekEnd)
	for err == nil {
		var b []byte
		b, err = client.Call[[]byte](ctx, s, files.Procedure(gw, "read"), words[0], offset, int64(files.MaxChunk))
		if err == nil && len(b) == 0 {
			break
		}
		if err == nil {
			_, err = f.WriteAt(b, offset)
			offset += int64(len(b))
		}
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return err
	}
	_, sum, err := fileSum(f)
	if err != nil {
		return err
	}
	if sum != about["sha256"] {
		return errors.Join(fmt.Errorf("%s: the SHA-256 is another one; what was there is removed, fetch it again", to), os.Remove(to+".part"))
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(to+".part", to)
}
