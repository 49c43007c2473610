package main

func Example() {
	main()
	// Output:
	// [/math/v2/add_2]
	// [/admin/math/v2/add_2]
	// [/admin/deep/math/v2/add_2]
	// /math/v2/add_2, token "": 42
	// /math/v2/add_2, token "secret": 42
	// /admin/math/v2/add_2, token "": 401 wrong token
	// /admin/math/v2/add_2, token "secret": 42
	// /admin/deep/math/v2/add_2, token "": 401 wrong token
	// /admin/deep/math/v2/add_2, token "secret": 42
}
