package lyingfs

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Mount mounts an empty file system at dir, which needs /dev/fuse and root. It lasts
// until Unmount.
func Mount(dir string) (*FS, error) {
	f := newFS()
	none := time.Duration(0)
	root := &node{f: f, o: f.root}
	server, err := fs.Mount(dir, root, &fs.Options{
		// The kernel remembers no names: a cut changes them behind its back.
		EntryTimeout: &none, AttrTimeout: &none, NegativeTimeout: &none,
		MountOptions: fuse.MountOptions{DirectMount: os.Geteuid() == 0, FsName: "lyingfs", Name: "lyingfs"},
	})
	if err != nil {
		return nil, fmt.Errorf("mount at %s: %w", dir, err)
	}
	f.unmount = func() error {
		if err := server.Unmount(); err != nil {
			return err
		}
		server.Wait()
		return nil
	}
	f.forget = func() { forget(root.EmbeddedInode()) }
	return f, nil
}

// forget has the kernel forget the content of all files below i, as far as nobody
// needs it at the moment.
func forget(i *fs.Inode) {
	// It knows nothing of some of them.
	_ = i.NotifyContent(0, 0)
	for _, c := range i.Children() {
		forget(c)
	}
}

// Unmount ends the file system. It fails while a program uses it.
func (f *FS) Unmount() error { return f.unmount() }

// node is what the kernel knows of an object.
type node struct {
	fs.Inode
	f *FS
	o *object
}

var (
	_ fs.NodeLookuper  = (*node)(nil)
	_ fs.NodeReaddirer = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeSetattrer = (*node)(nil)
	_ fs.NodeCreater   = (*node)(nil)
	_ fs.NodeMkdirer   = (*node)(nil)
	_ fs.NodeMknoder   = (*node)(nil)
	_ fs.NodeUnlinker  = (*node)(nil)
	_ fs.NodeRmdirer   = (*node)(nil)
	_ fs.NodeRenamer   = (*node)(nil)
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeReader    = (*node)(nil)
	_ fs.NodeWriter    = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)
	_ fs.NodeStatfser  = (*node)(nil)
)

func (n *node) attr(a *fuse.Attr) {
	a.Ino, a.Nlink, a.Blksize, a.Mode = n.o.ino, 1, page, n.o.mode
	a.Size = uint64(len(n.o.now))
	a.Blocks = uint64(n.o.allocated() / sector)
	t := time.Unix(0, n.o.mtime)
	a.SetTimes(&t, &t, &t)
}

func (n *node) child(ctx context.Context, o *object, out *fuse.EntryOut) *fs.Inode {
	c := &node{f: n.f, o: o}
	c.attr(&out.Attr)
	return n.NewInode(ctx, c, fs.StableAttr{Mode: o.mode & syscall.S_IFMT, Ino: o.ino})
}

func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	o := n.o.names[name]
	if o == nil {
		return nil, syscall.ENOENT
	}
	return n.child(ctx, o, out), 0
}

func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	var list []fuse.DirEntry
	for name, o := range n.o.names {
		list = append(list, fuse.DirEntry{Name: name, Mode: o.mode & syscall.S_IFMT, Ino: o.ino})
	}
	return fs.NewListDirStream(list), 0
}

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	n.attr(&out.Attr)
	return 0
}

func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	if e := n.f.change(); e != 0 {
		return e
	}
	if size, ok := in.GetSize(); ok {
		n.f.resize(n.o, int64(size))
	}
	if mode, ok := in.GetMode(); ok {
		n.o.mode = n.o.mode&syscall.S_IFMT | mode&^syscall.S_IFMT
	}
	n.o.mtime = time.Now().UnixNano()
	if t, ok := in.GetMTime(); ok {
		n.o.mtime = t.UnixNano()
	}
	n.attr(&out.Attr)
	return 0
}

// make makes a new object under a name.
func (n *node) make(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	if e := n.f.change(); e != 0 {
		return nil, e
	}
	o := n.f.object(mode)
	o.mtime = time.Now().UnixNano()
	n.f.name(renaming{{n.o, name, o}})
	return n.child(ctx, o, out), 0
}

func (n *node) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	i, e := n.make(ctx, name, syscall.S_IFREG|mode&^syscall.S_IFMT, out)
	return i, nil, 0, e
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.make(ctx, name, syscall.S_IFDIR|mode&^syscall.S_IFMT, out)
}

func (n *node) Mknod(ctx context.Context, name string, mode, _ uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.make(ctx, name, mode, out)
}

func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	o := n.o.names[name]
	switch {
	case o == nil:
		return syscall.ENOENT
	case len(o.names) > 0:
		return syscall.ENOTEMPTY
	}
	if e := n.f.change(); e != 0 {
		return e
	}
	n.f.used -= int64(len(o.now))
	n.f.name(renaming{{n.o, name, nil}})
	return 0
}

func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno { return n.Unlink(ctx, name) }

func (n *node) Rename(_ context.Context, name string, parent fs.InodeEmbedder, to string, flags uint32) syscall.Errno {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	into, ok := parent.EmbeddedInode().Operations().(*node)
	if !ok || flags != 0 {
		return syscall.EINVAL
	}
	o := n.o.names[name]
	if o == nil {
		return syscall.ENOENT
	}
	if e := n.f.change(); e != 0 {
		return e
	}
	if old := into.o.names[to]; old != nil {
		n.f.used -= int64(len(old.now))
	}
	n.f.name(renaming{{n.o, name, nil}, {into.o, to, o}})
	return 0
}

func (n *node) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, 0, 0
}

func (n *node) Read(_ context.Context, _ fs.FileHandle, b []byte, at int64) (fuse.ReadResult, syscall.Errno) {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	if n.f.unreadable {
		return nil, syscall.EIO
	}
	got := 0
	if at < int64(len(n.o.now)) {
		got = copy(b, n.o.now[at:])
	}
	return fuse.ReadResultData(b[:got]), 0
}

func (n *node) Write(_ context.Context, _ fs.FileHandle, b []byte, at int64) (uint32, syscall.Errno) {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	if e := n.f.write(n.o, b, at); e != 0 {
		return 0, e
	}
	n.o.mtime = time.Now().UnixNano()
	return uint32(len(b)), 0
}

// Fsync is that of files and of directories.
func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	return n.f.sync(n.o)
}

func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	total := n.f.full
	if total == 0 {
		total = plenty
	}
	out.Bsize, out.Frsize, out.NameLen = page, page, 255
	out.Blocks = uint64(total / page)
	out.Bfree = uint64(max(0, total-n.f.used) / page)
	if n.f.low {
		out.Bfree = min(out.Bfree, uint64(nearlyFull/page))
	}
	out.Bavail = out.Bfree
	return 0
}
