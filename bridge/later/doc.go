// Package later keeps commands for devices that are not there yet: a caller queues
// a set or a do under gantry.<gw>.later.<dev>.<verb>, and the procedure is called
// when the device, or the whole gateway, can be reached, but never after the job
// has expired (docs/topics.md, section 8).
//
// A job is on disk before its caller is answered, and marked as sent before the
// procedure is called. So a job whose call was under way when the program died is
// never called again, unless its caller has allowed that; its state is unknown.
//
// Queue decides without time and without I/O; Later is the component around it.
package later
