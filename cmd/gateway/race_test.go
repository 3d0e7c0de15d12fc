//go:build race

package main

// underRace says that this binary, and so the program that it becomes, runs under
// the race detector, which multiplies time and memory.
const underRace = true
