// Package fleet is a hub's view of the gateways whose uplinks lead to it: which there
// are and which are connected, how far each is behind, which events of their streams
// are missing or came twice, and which alarms are raised (docs/fleet.md).
//
// View decides without time and without I/O; Fleet is the component around it.
package fleet
