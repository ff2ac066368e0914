// Package timestamps runs other people's RFC 3161 clients against Jurat's time-stamp authority, as
// their users would: OpenSSL, jarsigner, osslsigncode, BouncyCastle, pyHanko, rfc3161-client,
// @sigstore/core and digitorus/timestamp.
//
// Each client obtains a token from the running service and verifies it, twice: as it is made, and
// upgraded, with its receipt inside, which no client knows and none may stumble over. Each is also
// refused something, and what its user then sees is what the test asks for.
//
// COSE receipts, of the service and of others, are made and verified by veraison/go-cose with
// transparency-dev/merkle.
//
// `tests/run timestamps` installs the clients, builds the service and runs this.
package timestamps
