//go:build !linux

package main

import "errors"

type usage struct {
	rss, peak   int64
	descriptors int
}

func usageOf(int) (usage, error) {
	return usage{}, errors.New("memory and descriptors of a process are read on Linux only")
}
