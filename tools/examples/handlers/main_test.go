package main

func Example() {
	main()
	// Output:
	// CALL [/aaa/xx_zz]
	// CALL /double
	// CALL /xx_zz
	// PUSH [/bbb/yy_zz]
	// /aaa/xx_zz -> hello struct
	// /double -> 42
	// /xx_zz ->  method
	// /no/where -> nobody serves /no/where; its body is [1,2]
	// Bbb.YyZz got a push
	// nobody serves the push /no/where of a push
}
