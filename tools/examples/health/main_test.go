package main

func Example() {
	main()
	// Output:
	// /health/live 200 OK {"status":"ok"}
	// /health/ready 200 OK {"status":"ok","checks":{"database":"ok"}}
	// /health/ready 503 Service Unavailable {"code":503,"msg":"Not Ready","cause":"failing: database"}
	// /health/live 200 OK {"status":"ok"}
	// {ok map[database:ok] map[]} <nil>
	// /health/ready 503 Service Unavailable {"code":503,"msg":"Not Ready","cause":"draining"}
}
