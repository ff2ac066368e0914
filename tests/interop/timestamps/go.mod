module jurat.example/interop/timestamps

go 1.27.0 // what digitorus/timestamp asks for

require (
	github.com/digitorus/timestamp v0.0.0-20260914073129-b4b58b92aa51
	github.com/fxamacker/cbor/v2 v2.5.0
	github.com/transparency-dev/merkle v0.0.2
	github.com/veraison/go-cose v1.3.0
)

require (
	github.com/digitorus/pkcs7 v0.0.0-20260914070511-d678ea5ea03f // indirect
	github.com/x448/float16 v0.8.4 // indirect
)
