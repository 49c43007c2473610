package main

func Example() {
	main()
	// Output:
	// asked in 'v'
	// [[a 1] [b 2,5]] in 'v'
	// asked in 'j'
	// [[a 1] [b 2,5]] in 'j'
	// asked in 'v'
	// [[a 1] [b 2,5]] in 'v'
	// Write Failed
}
