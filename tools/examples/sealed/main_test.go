package main

func Example() {
	main()
	// Output:
	// the proxy sees /tür/öffnen, and the secret in its body: false
	// open with 1234
	// the proxy sees /tür/öffnen, and the secret in its body: false
	// 400 secure: message was received before, or is too old
	// the proxy sees /tür/öffnen, and the secret in its body: false
	// 400 secure: key 1: wrong key, or the message was altered
	// the door was opened 2 times
}
