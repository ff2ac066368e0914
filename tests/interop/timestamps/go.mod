module jurat.example/interop/timestamps

go 1.27.0 // what digitorus/timestamp asks for

require github.com/digitorus/timestamp v0.0.0-20260914073129-b4b58b92aa51

require github.com/digitorus/pkcs7 v0.0.0-20260914070511-d678ea5ea03f // indirect
