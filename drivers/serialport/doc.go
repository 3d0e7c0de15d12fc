// Package serialport opens serial ports for drivers: by path or by USB identity,
// exclusively, with a deadline around every operation, and with errors that tell
// the operator what to do. [LineReader] cuts the bytes into lines within fixed
// memory.
//
// go.bug.st/serial opens the port and sets speed, parity and modem lines. Bytes
// go through a second, non-blocking descriptor of the same port, which also
// carries the lock, for three reasons found in version 1.8.0: its Write has no
// deadline and Close does not free it, so that every retry on a wedged adapter
// would leak a thread; its Read uses select and panics when the process has more
// than 1024 descriptors open; and its Close lets go of the descriptor before a
// Read that is under way has ended. Through Go's poller none of these happens, and
// a cancelled read returns at once.
//
// Its list of ports opens every port on the way, which resets boards; [List]
// reads sysfs instead.
package serialport
