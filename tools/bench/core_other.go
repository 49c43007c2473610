//go:build !linux

package main

import "runtime"

// ownCore locks the goroutine to its thread; the system chooses the core.
func ownCore(int) { runtime.LockOSThread() }
