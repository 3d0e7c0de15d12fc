// Package crashtest judges package store: it cuts the power of a gateway at every
// step of its disk and compares what is found afterwards with what was promised.
//
// A [Ledger] is what a program that uses the store was told: records offered,
// acknowledged, dropped. Its Check compares that with what a reader finds. A
// [Trace] is what the program's disk was told: every write, truncation, sync,
// rename and removal, in order, as strace sees them. A [Disk] replays a trace up to
// any step and makes images of what a power cut there may leave: everything that was
// synced, and of the rest any part, torn at sectors.
//
// What is assumed of the disk: a sector of 512 bytes is written whole or not at all;
// what one fsync or fdatasync covers is there when it has returned; names of a
// directory change in order, and are there when the directory has been synced. The
// content of a file and its name are independent of each other.
package crashtest
