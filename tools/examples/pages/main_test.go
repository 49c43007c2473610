package main

func Example() {
	main()
	// Output:
	// open: 200 OK , text/html; charset=utf-8
	//    Guest book Guest book Nobody has signed yet. Sign
	// sign: 200 OK /, text/html; charset=utf-8
	//    Guest book Guest book Welcome back, Zoë. Zoë : &lt;script&gt;alert(1)&lt;/script&gt; Sign
	// forget the text: 422 Unprocessable Content /sign, text/html; charset=utf-8
	//    Incomplete Guest book A name and a text, please. Back
	// follow a link to the form: 405 Method Not Allowed /sign, application/json
	//    {"code":405,"msg":"Method Not Allowed","cause":"send the form by POST"}
}
