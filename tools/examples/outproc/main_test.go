package main

func Example() {
	main()
	// Output:
	// host: loaded [{filter 109 md5}]
	// host: loaded [{codec 99 cbor}]
	// client: {Sum:6 Even:true}
	// host: md5guest was killed; restarts: 1
	// client: {Sum:6 Even:true}
	// host: another md5guest was not run. If it is the file to run: teleport guests lock guests.yaml
}
