package main

func Example() {
	main()
	// Output:
	// level=INFO msg="dial ok"
	// level=INFO msg=CALL-> real=- mark=fast method="/home/test?peer_id=110" send.meta="request-id=7" send.body="\"abc\"" recv.meta="served-by=home" recv.body="\"abcabc\""
	// result abcabc, <nil>, metadata served-by=home
	// level=WARN msg=CALL-> real=- mark=slow method=/home/nap send.body="\"zzz\"" recv.body="\"zzz\""
	// level=INFO msg=CALL-> real=- mark=fast method=/home/away send.body="\"?\"" recv.error="{\"code\":404,\"message\":\"Not Found\"}"
}
