package main

func Example() {
	main()
	// Output:
	// ann is one of 1 <nil>
	// bob is one of 2 <nil>
	// cid is one of 3 <nil>
	// ann was heard by 2 <nil>
	// bob hears ann: hello
	// cid hears ann: hello
	// bob leaves 2 <nil>
	// ann hears cid is gone
	// in the room: [ann]
}
