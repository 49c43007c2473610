package main

func Example() {
	main()
	// Output:
	// CALL TEXT
	// a push on the way
	// "plain text" in codec 's'
	// "json text" in codec 'j'
}
