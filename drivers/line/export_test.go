package line

import "gantry/drivers"

// Take deals with one line as a running driver does, without a port.
func (d *Driver) Take(line []byte, link drivers.Link) {
	(&intake{d: d, s: newSession(nil), link: link}).line(line)
}
