package main

func Example() {
	main()
	// Output:
	// a thrift client asks
	// 6 <nil>
	// type 6: 1001 Division By Zero: 1/0
	// type 1: 404 Not Found
	// 3 <nil>
	// {"code":1001,"message":"Division By Zero","reason":"9/0"}
}
