package main

func Example() {
	main()
	// Output:
	// asked in 's', handlers have 2s
	// tp: network "carrier pigeon": Invalid network config, refer to the following: tcp, tcp4, tcp6, unix, unixpacket
}
