package main

func Example() {
	main()
	// Output:
	// hello, gopher
	// 1000 messages in order
	// one session: 1 stream, over several connections: true
}
