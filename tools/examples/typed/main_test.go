package main

func Example() {
	main()
	// Output:
	// the server asks: 3 apples?
	// bought 3 apples
	// code 1001: 1001 sold out: there are 10 left
	// no such method: true
}
