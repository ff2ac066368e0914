//! What a request's fields ask for.

use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderName, IF_NONE_MATCH};

/// Whether a gzip body may be sent: `gzip` (or its alias `x-gzip`) is listed with a weight above
/// zero, or is not listed and `*` is.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    // Spec: HTTP-14
    let mut named = None;
    let mut any = None;
    for (coding, weight) in weighted(headers, &ACCEPT_ENCODING) {
        if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            named = Some(named.unwrap_or(0).max(weight));
        } else if coding == "*" {
            any = Some(any.unwrap_or(0).max(weight));
        }
    }
    named.or(any).unwrap_or(0) > 0
}

/// Whether the peer asks for JSON by name, with a weight above zero and not below that of any
/// `text/` type it names. A browser or a bare `*/*` does not.
pub fn accepts_json(headers: &HeaderMap) -> bool {
    let (mut json, mut text) = (0, 0);
    for (range, weight) in weighted(headers, &ACCEPT) {
        if range.eq_ignore_ascii_case("application/json") {
            json = json.max(weight);
        } else if range
            .split_once('/')
            .is_some_and(|(kind, _)| kind.eq_ignore_ascii_case("text"))
        {
            text = text.max(weight);
        }
    }
    json > 0 && json >= text
}

/// Whether the peer has this entity already. `etag` is the opaque part, without quotes; the
/// comparison is the weak one, as `If-None-Match` wants.
pub fn if_none_match(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|list| list.trim() == "*" || names_etag(list, etag))
}

/// An opaque tag may hold commas, so that the list is walked quote by quote.
fn names_etag(list: &str, etag: &str) -> bool {
    let mut rest = list;
    while let Some((_, from_tag)) = rest.split_once('"') {
        let Some((tag, after)) = from_tag.split_once('"') else {
            return false;
        };
        if tag == etag {
            return true;
        }
        rest = after;
    }
    false
}

/// The members of a list field with their weights in thousandths. A weight that does not parse
/// counts as zero: what is malformed is not a wish.
fn weighted<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = (&'a str, u16)> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|member| {
            let mut parts = member.split(';').map(str::trim);
            let value = parts.next().filter(|value| !value.is_empty())?;
            let weight = parts
                .filter_map(|parameter| parameter.split_once('='))
                .find(|(key, _)| key.trim().eq_ignore_ascii_case("q"))
                .map_or(WEIGHT_ONE, |(_, weight)| parse_weight(weight.trim()));
            Some((value, weight))
        })
}

const WEIGHT_ONE: u16 = 1000;

/// `0`, `1`, `0.5`, `0.125`, `1.000`: RFC 9110 section 12.4.2.
fn parse_weight(weight: &str) -> u16 {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return 0;
    }
    let thousandths: u16 = format!("{fraction:0<3}").parse().unwrap_or(0);
    match whole {
        "0" => thousandths,
        "1" if thousandths == 0 => WEIGHT_ONE,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn gzip_is_sent_only_to_who_takes_it() {
        for (values, takes) in [
            (&[][..], false),
            (&["gzip"], true),
            (&["GZIP"], true),
            (&["x-gzip"], true),
            (&["deflate, gzip;q=0.5"], true),
            (&["gzip;q=0"], false),
            (&["gzip; q=0.000"], false),
            (&["gzip ; Q=0.001"], true),
            (&["*"], true),
            (&["*;q=0"], false),
            (&["gzip;q=0, *"], false),
            (&["*;q=0, gzip"], true),
            (&["identity"], false),
            (&["br", "gzip"], true),
            (&["gzip;q=2"], false),
            (&["gzip;q=nonsense"], false),
            (&["gzip;q=0.0001"], false),
            (&["gzipped"], false),
            (&[", ,gzip,"], true),
        ] {
            // Spec: HTTP-14
            assert_eq!(
                accepts_gzip(&headers(&ACCEPT_ENCODING, values)),
                takes,
                "{values:?}"
            );
        }
    }

    #[test]
    fn json_is_sent_only_when_named() {
        for (values, takes) in [
            (&[][..], false),
            (&["*/*"], false),
            (&["application/json"], true),
            (&["text/html, application/json;q=0.5"], false),
            (&["text/plain;q=0.5, application/json"], true),
            (&["application/json;q=0"], false),
        ] {
            assert_eq!(accepts_json(&headers(&ACCEPT, values)), takes, "{values:?}");
        }
    }

    #[test]
    fn an_entity_tag_is_found_in_every_lawful_spelling() {
        for (values, has) in [
            (&[][..], false),
            (&["\"abc\""], true),
            (&["W/\"abc\""], true),
            (&["\"x\", \"abc\""], true),
            (&["\"x\"", "\"abc\""], true),
            (&["*"], true),
            (&["\"a,b\", \"abc\""], true),
            (&["abc"], false),
            (&["\"abc"], false),
            (&["\"abcd\""], false),
        ] {
            // Spec: HTTP-13
            assert_eq!(
                if_none_match(&headers(&IF_NONE_MATCH, values), "abc"),
                has,
                "{values:?}"
            );
        }
    }
}
