// Package peers runs other people's programs against Jurat's, as their operators would: Tessera's
// POSIX example as a log that a jurat-witness cosigns, litewitness beside a jurat-witness as the
// witnesses of a Jurat service, and litewitness and transparency-dev's distributor beside a
// jurat-witness that alone notices a fork. What comes out is verified with torchwood and x/mod.
//
// Tessera is built twice. As it is released (module tessera) it takes no witness key but one of
// type 0x04. With the formats module that is current in this module, it takes 0x06 as well.
//
// `tests/run peers` builds everything and runs this.
package peers
