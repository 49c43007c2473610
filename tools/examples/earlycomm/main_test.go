package main

func Example() {
	main()
	// Output:
	// server: CALL /early/name Ann
	// client: the server says welcome Ann
	// client: you are Ann <nil>
	// server: CALL /early/name Mallory
	// client: 401 not you
	// server: Ann is here: true
}
