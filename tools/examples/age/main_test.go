package main

func Example() {
	main()
	// Output:
	// in time: done
	// over the server's age: 408 Handle Timeout
	// over it, stubborn: 408 Handle Timeout
	// over the caller's deadline: 408 Handle Timeout
	// afterwards: done
	// the session: 102 Connection Closed
	// because of: session age
}
