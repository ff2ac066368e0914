//! RFC 3161 time-stamps: requests, answers, tokens, and whether a token is good.
//!
//! In scope: the structures of RFC 3161 and RFC 5816 and what they need of CMS and X.509; strict
//! DER in both directions; a receipt inside a token; verification at the token's own time. Out of
//! scope: HTTP, the clock, the private key, and what a receipt proves.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`request`] | `TimeStampReq`, and whether an authority can grant it |
//! | [`response`] | `TimeStampResp`: a token, or a status, failures and a text |
//! | [`tst_info`] | `TSTInfo`: what a token says |
//! | [`not_before`] | the cosigned checkpoint in it |
//! | [`signed_data`] | the token: CMS `SignedData` with one signer, made in two steps |
//! | [`verify`] | whether a token is good, anybody's |
//! | [`logged`] | what the log proves about one of ours |
//! | [`certificate`], [`path`] | certificates for time-stamps, and their way to a root |
//! | [`issue`] | new certificates for an authority and its units |
//! | [`imprint`], [`gen_time`], [`oid`] | digests, times, object identifiers |
//! | [`element`] | single elements of DER |
//!
//! What is accepted re-encodes to the same bytes, which for tokens of others means: DER, with the
//! members of a SET in the order in which they came.
//!
//! Rules: `spec/timestamp.md`.

pub mod certificate;
pub mod element;
pub mod gen_time;
pub mod imprint;
pub mod issue;
pub mod logged;
pub mod not_before;
pub mod oid;
pub mod path;
pub mod request;
pub mod response;
pub mod signed_data;
pub mod tst_info;
pub mod verify;

#[cfg(test)]
mod examples;
#[cfg(test)]
pub(crate) mod test_authority;
