package main

func Example() {
	main()
	// The end of a call is noted behind its reply, so the audit's lines may come in another order.

	// Unordered output:
	// host: loaded [{filter 109 md5}]
	// host: loaded [{codec 99 cbor}]
	// host: loaded [{gateway 0 resp}]
	// host: loaded [{decision 0 auth}]
	// host: loaded [{observer 0 audit}]
	// client: {Sum:6 Even:true}
	// host: md5guest was killed; restarts: 1
	// client: {Sum:6 Even:true}
	// redis: GET k: -ERR Unauthorized
	// redis: AUTH secret: +OK
	// redis: SET k: -ERR wrong number of arguments for SET
	// redis: SET k value: OK
	// redis: GET k: value
	// audit: /redis/get code 401 user ""
	// audit: /redis/set code 400 user "ada"
	// audit: /redis/set code 0 user "ada"
	// audit: /redis/get code 0 user "ada"
	// host: another md5guest was not run. If it is the file to run: teleport guests lock guests.yaml
}
