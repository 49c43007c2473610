package main

func Example() {
	main()
	// Output:
	// pipe [], shorter than the text: false
	// AGAIN AND
	// pipe [base64], shorter than the text: false
	// AGAIN AND
	// pipe [base64 gzip], shorter than the text: true
	// AGAIN AND
	// pipe [md5], shorter than the text: false
	// AGAIN AND
}
