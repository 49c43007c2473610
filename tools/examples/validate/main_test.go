package main

func Example() {
	main()
	// Output:
	// 1 for Ann
	// 1001 no such number
	// 400 {"handler": "/order", "param": "", "reason": "Key: 'Order.Email' Error:Field validation for 'Email' failed on the 'email' tag"}
	// 400 {"handler": "/order", "param": "", "reason": "Key: 'Order.Items[0].Code' Error:Field validation for 'Code' failed on the 'isbn13' tag"}
}
