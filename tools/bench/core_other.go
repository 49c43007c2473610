//go:build !linux

package main

import "runtime"

// ownCore locks the goroutine to its thread; which core that runs on is the system's choice.
func ownCore(int) { runtime.LockOSThread() }
