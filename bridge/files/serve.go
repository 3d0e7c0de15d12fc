package files

import (
	"context"
	"errors"

	"gantry/wamp"
	"gantry/wamp/client"
)

// Procedure returns gantry.<gateway>.sys.file.<verb>.
func Procedure(gateway, verb string) wamp.URI {
	return wamp.URI("gantry." + gateway + ".sys.file." + verb)
}

// atOnce bounds the calls of each procedure at a time, and with it the memory of their
// pieces. More are refused.
const atOnce = 8

// Serve registers the procedures of d on the session: begin, chunk, end, list, stat,
// read and remove. They last as long as it. All callers of the role anonymous are one user.
func Serve(ctx context.Context, s wamp.Session, gateway, anonymous string, d *Dir) error {
	type named struct {
		Name  string `wamp:"0"`
		First int64  `wamp:"1,optional"` // of stat
	}
	type beginning struct {
		Name   string `wamp:"0"`
		Size   int64  `wamp:"1"`
		SHA256 string `wamp:"2"`
	}
	type piece struct {
		Name   string `wamp:"0"`
		Offset int64  `wamp:"1"`
		Data   []byte `wamp:"2"`
	}
	type span struct {
		Name   string `wamp:"0"`
		Offset int64  `wamp:"1"`
		Size   int64  `wamp:"2"`
	}
	var errs []error
	add := func(_ client.Undo, err error) { errs = append(errs, err) }
	at := func(verb string) wamp.URI { return Procedure(gateway, verb) }
	opts := wamp.RegisterOptions{Concurrency: atOnce, DiscloseCaller: true}
	add(client.RegisterWith(ctx, s, at("begin"), opts, func(ctx context.Context, b beginning) (int64, error) {
		return d.begin(userOf(ctx, anonymous), b.Name, b.Size, b.SHA256)
	}))
	add(client.RegisterWith(ctx, s, at("chunk"), opts, func(_ context.Context, p piece) (int64, error) { return d.chunk(p.Name, p.Offset, p.Data) }))
	add(client.RegisterWith(ctx, s, at("end"), opts, func(_ context.Context, n named) (string, error) { return n.Name, d.end(n.Name) }))
	add(client.RegisterWith(ctx, s, at("read"), opts, func(_ context.Context, r span) ([]byte, error) { return d.read(r.Name, r.Offset, r.Size) }))
	add(client.RegisterWith(ctx, s, at("remove"), opts, func(_ context.Context, n named) (string, error) { return n.Name, d.remove(n.Name) }))
	add(client.RegisterWith(ctx, s, at("stat"), opts, func(_ context.Context, n named) (wamp.Dict, error) {
		i, start, err := d.stat(n.Name, n.First)
		about := i.Dict()
		if start != "" {
			about["sha256_start"] = start
		}
		return about, err
	}))
	add(client.RegisterWith(ctx, s, at("list"), opts, func(context.Context, struct{}) (wamp.List, error) {
		all, err := d.list()
		out := wamp.List{}
		for _, i := range all {
			out = append(out, i.Dict())
		}
		return out, err
	}))
	return errors.Join(errs...)
}

// userOf returns who calls: role and authid, the role alone of anonymous callers, whose
// authids are of their sessions.
func userOf(ctx context.Context, anonymous string) string {
	c := client.InvocationOf(ctx).Details
	if c.CallerAuthRole == anonymous {
		return c.CallerAuthRole
	}
	return c.CallerAuthRole + " " + c.CallerAuthID
}

// Dict returns the file as the procedures do.
func (i Info) Dict() wamp.Dict {
	d := wamp.Dict{"name": i.Name, "size": i.Size, "offset": i.Offset, "partial": i.Partial}
	if i.SHA256 != "" {
		d["sha256"] = i.SHA256
	}
	return d
}
