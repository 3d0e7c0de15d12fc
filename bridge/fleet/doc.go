// Package fleet is a hub's view of the gateways whose uplinks lead to it: which there
// are, when they were heard last, and which events of their streams are missing or
// came twice (docs/fleet.md).
//
// View decides without time and without I/O; Fleet is the component around it.
package fleet
