package main

func Example() {
	main()
	// Output:
	// /home/door: come in, Ann
	// /Home/DOOR: come in, Ann
	// /strict/home/door: come in, Ann
	// /Strict/Home/Door: 404 Not Found
}
