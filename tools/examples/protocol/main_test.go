package main

func Example() {
	main()
	// Output:
	// <nil> 3
	// {"seq":7,"type":2,"body":7}
	// {"seq":7,"type":2,"error":{"code":404,"message":"Not Found"}}
}
