package main

func Example() {
	main()
	// Output:
	// raw: 6 <nil>
	// raw: 1001 no negative numbers: -1
	// raw of eRPC: 6 <nil>
	// raw of eRPC: 1001 no negative numbers: -1
	// json: 6 <nil>
	// json: 1001 no negative numbers: -1
	// protobuf: 6 <nil>
	// protobuf: 1001 no negative numbers: -1
	// http: 6 <nil>
	// http: 1001 no negative numbers: -1
	// net/http: 200 OK 6 <nil>
}
