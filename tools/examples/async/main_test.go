package main

func Example() {
	main()
	// Output:
	// slept 1 ms of a call that took that long: true
	// slept 1000 ms of a call that took that long: true
	// slept 2000 ms of a call that took that long: true
	// {"code":499,"message":"Canceled","reason":"context canceled"}
}
