package main

import (
	"errors"
	"runtime"
)

// startBusy starts n processes for each CPU that do nothing but use it. They end
// when stop is called, or when this process is gone: their standard input ends.
func startBusy(n int) (stop func() error, err error) {
	var children []*child
	stop = func() (err error) {
		for _, ch := range children {
			err = errors.Join(err, ch.end())
		}
		return err
	}
	for range n * runtime.NumCPU() {
		ch, err := candidate{name: "busy"}.start("busy")
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		children = append(children, ch)
	}
	for _, ch := range children {
		var begun bool
		if err := ch.receive(&begun, 0); err != nil {
			return nil, errors.Join(err, stop())
		}
	}
	return stop, nil
}
