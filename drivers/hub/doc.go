// Package hub supervises devices and puts them on the wire: it runs each driver
// in its own goroutines, restarts it when it fails, polls it on schedule or on
// demand, turns what it says into values, filters and thins them out, publishes
// them, and serves the procedures that read, write and command it. It keeps the
// rules of what may be written and when, and writes safe values where nobody looks
// after a device.
//
// A reading's way: life.Emit or a poll (life.go, poll.go), device.deliver
// (publish.go), point.clean, the filters, point.accept (point.go), device.publish.
// A command's way back: set (command.go), spec.check (describe.go), permit
// (interlock.go), write (write.go), the lane (life.go), the driver.
//
// Devices that appear by themselves are candidates (found.go) until somebody decides
// (decide.go).
//
// The hub is a component on a [wamp.Session] and does not know whether that is
// in the router's process or on another machine. The names, envelopes and errors
// that it puts on the wire are specified in docs/topics.md.
//
// One bad device never stops another: a panic in a driver is caught and the
// driver restarted after a backoff, a driver that does not answer is cut off by
// its deadlines, and one that does not even return is left alone and reported as
// parked. A panic in a goroutine that a driver started itself cannot be caught by
// anybody; drivers that run foreign code keep it in a child process.
package hub
