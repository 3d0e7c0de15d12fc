package line

import "gantry/drivers"

// Take deals with one line as a running driver does, without a port.
func (d *Driver) Take(line []byte, link drivers.Link) { d.Begin(nil, link).Message(line) }
