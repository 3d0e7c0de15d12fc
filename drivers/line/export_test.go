package line

import (
	"gantry/drivers"
	"gantry/drivers/internal/dialog"
)

// Take deals with one line as a running driver does, without a port.
func (d *Driver) Take(line []byte, link drivers.Link) {
	(&intake{d: d, s: dialog.New[*reply](nil), link: link}).line(line)
}
