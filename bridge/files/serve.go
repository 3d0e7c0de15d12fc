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

// Serve registers the procedures of d on the session: begin, chunk, end, list, stat,
// read and remove. They last as long as it.
func Serve(ctx context.Context, s wamp.Session, gateway string, d *Dir) error {
	type named struct {
		Name string `wamp:"0"`
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
	add(client.Register(ctx, s, at("begin"), func(_ context.Context, b beginning) (int64, error) { return d.begin(b.Name, b.Size, b.SHA256) }))
	add(client.Register(ctx, s, at("chunk"), func(_ context.Context, p piece) (int64, error) { return d.chunk(p.Name, p.Offset, p.Data) }))
	add(client.Register(ctx, s, at("end"), func(_ context.Context, n named) (string, error) { return n.Name, d.end(n.Name) }))
	add(client.Register(ctx, s, at("read"), func(_ context.Context, r span) ([]byte, error) { return d.read(r.Name, r.Offset, r.Size) }))
	add(client.Register(ctx, s, at("remove"), func(_ context.Context, n named) (string, error) { return n.Name, d.remove(n.Name) }))
	add(client.Register(ctx, s, at("stat"), func(_ context.Context, n named) (wamp.Dict, error) {
		i, err := d.stat(n.Name)
		return i.dict(), err
	}))
	add(client.Register(ctx, s, at("list"), func(context.Context, struct{}) (wamp.List, error) {
		all, err := d.list()
		out := wamp.List{}
		for _, i := range all {
			out = append(out, i.dict())
		}
		return out, err
	}))
	return errors.Join(errs...)
}

func (i Info) dict() wamp.Dict {
	d := wamp.Dict{"name": i.Name, "size": i.Size, "offset": i.Offset, "partial": i.Partial}
	if i.SHA256 != "" {
		d["sha256"] = i.SHA256
	}
	return d
}
