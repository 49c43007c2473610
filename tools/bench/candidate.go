package main

import (
	"fmt"
	"strconv"
	"strings"
)

// bodySize is the size of the classic benchmark's message.
const bodySize = 581

// candidate is one way to make calls, with its server and its client.
type candidate struct {
	name  string
	serve func() (addr string, err error)
	// dial connects and returns a call that is safe for concurrent use.
	dial func(addr string) (call func() error, err error)
}

func candidates() []candidate {
	return append(floorCandidates(), teleportCandidates()...)
}

func candidateNames() (names []string) {
	for _, c := range candidates() {
		names = append(names, c.name)
	}
	return names
}

func choose(names string) ([]candidate, error) {
	all := candidates()
	if names == "" {
		return all, nil
	}
	var list []candidate
next:
	for _, name := range strings.Split(names, ",") {
		for _, c := range all {
			if c.name == name {
				list = append(list, c)
				continue next
			}
		}
		return nil, fmt.Errorf("candidate %q is not known; there are: %s", name, strings.Join(candidateNames(), " "))
	}
	return list, nil
}

// config is how many connections and callers a window has.
type config struct {
	name           string
	conns, callers int
}

func parseConfigs(text string) ([]config, error) {
	var list []config
	for _, name := range strings.Split(text, ",") {
		c, err := parseConfig(name)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

func parseConfig(name string) (config, error) {
	if len(name) < 2 {
		return config{}, fmt.Errorf("configuration %q: want a letter and a number, like a100", name)
	}
	n, err := strconv.Atoi(name[1:])
	if err != nil || n < 1 || n > 100_000 {
		return config{}, fmt.Errorf("configuration %q: want a number of 1 to 100000 behind the letter", name)
	}
	switch name[0] {
	case 'a':
		return config{name, 1, n}, nil
	case 'b':
		return config{name, n, n}, nil
	case 'c':
		return config{name, 8, n}, nil
	}
	return config{}, fmt.Errorf("configuration %q: the letter is a, b or c", name)
}
