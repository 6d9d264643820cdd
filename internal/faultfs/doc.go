// Package faultfs has file systems and disks that fail on request. They are real
// ones, of the kernel: what is tested on them does not know that they are not.
//
// An [FS] is a directory seen through FUSE, on which single operations fail, or
// are slow. A [Drive] is a disk with a cache that it loses when the power is cut:
// what was written to it and not flushed is there afterwards in part, in any
// order. It is a file, to be mounted by way of a loop device.
//
// Both need Linux, /dev/fuse and the right to mount.
package faultfs
