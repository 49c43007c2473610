package main

import "testing"

// Each candidate carries calls over two connections.
func TestCandidates(t *testing.T) {
	for _, c := range candidates() {
		t.Run(c.Name, func(t *testing.T) {
			addr, err := c.Serve()
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				call, err := c.Dial(addr)
				if err != nil {
					t.Fatal(err)
				}
				for range 10 {
					if err := call(); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}
