//! Responses, made in one place so that they look alike.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderValue, RETRY_AFTER, VARY,
};
use serde::Serialize;

use super::negotiate::if_none_match;
use super::{Method, Response, StatusCode};

/// Plain text.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response {
    typed(status, "text/plain; charset=utf-8", body)
}

/// A refusal or a failure: one line of plain text, never cached. `message` ends in a newline and
/// carries nothing secret.
pub fn error(status: StatusCode, message: impl Into<Bytes>) -> Response {
    with_cache(text(status, message), Cache::No)
}

/// A value as JSON. A value that does not serialise is our bug, and answers 500.
pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => typed(status, "application/json", body),
        Err(cause) => {
            tracing::error!(%cause, "a response does not serialise");
            error(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
        }
    }
}

/// 404.
pub fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "not found\n")
}

/// 503 with `Retry-After` in seconds: the request was not begun, or may be repeated.
pub fn too_busy(message: impl Into<Bytes>, retry_after_seconds: u32) -> Response {
    retry_later(
        StatusCode::SERVICE_UNAVAILABLE,
        message,
        retry_after_seconds,
    )
}

/// An error that passes, with `Retry-After`.
pub fn retry_later(
    status: StatusCode,
    message: impl Into<Bytes>,
    retry_after_seconds: u32,
) -> Response {
    let mut response = error(status, message);
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(retry_after_seconds));
    response
}

/// 405 with the methods that would be right. Where GET is allowed, HEAD is too.
pub fn method_not_allowed(allowed: &[Method]) -> Response {
    let mut names: Vec<&str> = Vec::with_capacity(allowed.len() + 1);
    for method in allowed {
        names.push(method.as_str());
        if *method == Method::GET && !allowed.contains(&Method::HEAD) {
            names.push(Method::HEAD.as_str());
        }
    }
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    if let Ok(names) = HeaderValue::try_from(names.join(", ")) {
        // Spec: HTTP-12
        response.headers_mut().insert(ALLOW, names);
    }
    response
}

/// `None` when the method is one of `allowed` (HEAD counts as GET), else the 405 to answer with.
/// A response to HEAD is made as for GET; the listener sends its fields without its body.
pub fn only(method: &Method, allowed: &[Method]) -> Option<Response> {
    // Spec: HTTP-19
    let asked = if *method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let fits = allowed.contains(asked) || allowed.contains(method);
    (!fits).then(|| method_not_allowed(allowed))
}

/// How long others may keep a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Not at all.
    No,
    /// So many seconds.
    Seconds(u32),
    /// It never changes: full tiles, receipts.
    Immutable,
}

/// Says how long a response may be kept.
#[must_use]
pub fn with_cache(mut response: Response, cache: Cache) -> Response {
    let value = match cache {
        Cache::No => HeaderValue::from_static("no-store"),
        Cache::Seconds(seconds) => HeaderValue::try_from(format!("public, max-age={seconds}"))
            .unwrap_or(HeaderValue::from_static("no-store")),
        Cache::Immutable => HeaderValue::from_static("public, max-age=31536000, immutable"),
    };
    response.headers_mut().insert(CACHE_CONTROL, value);
    response
}

/// Gives a 200 its entity tag, and turns it into a 304 without body when the request shows that
/// the peer has it. `etag` is the opaque part: visible ASCII without quotes, else none is sent.
#[must_use]
pub fn conditional(request: &HeaderMap, etag: &str, mut response: Response) -> Response {
    let lawful = etag
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'"');
    let Some(value) = HeaderValue::try_from(format!("\"{etag}\""))
        .ok()
        .filter(|_| lawful)
    else {
        return response;
    };
    response.headers_mut().insert(ETAG, value);
    // Spec: HTTP-13
    if response.status() == StatusCode::OK && if_none_match(request, etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Full::default();
        for field in [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING] {
            response.headers_mut().remove(field);
        }
    }
    response
}

/// Marks a body that the caller compressed. Where [`super::accepts_gzip`] decides, both forms must
/// say `Vary`: pass `compressed = false` for the other one. An entity tag must differ between them.
#[must_use]
pub fn gzipped(mut response: Response, compressed: bool) -> Response {
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    if compressed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        let refusal = only(&Method::PUT, &[Method::GET, Method::POST]).unwrap();
        assert_eq!(refusal.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(refusal.headers()[ALLOW], "GET, HEAD, POST"); // Spec: HTTP-12
        assert!(only(&Method::HEAD, &[Method::GET]).is_none());
        assert!(only(&Method::POST, &[Method::POST]).is_none());
        assert!(only(&Method::HEAD, &[Method::POST]).is_some());
    }

    #[test]
    fn who_has_the_entity_gets_304_without_content() {
        let mut request = HeaderMap::new();
        request.insert("if-none-match", HeaderValue::from_static("\"v1\""));
        let fresh = || with_cache(text(StatusCode::OK, "body"), Cache::Immutable);
        let same = conditional(&request, "v1", fresh());
        assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
        assert!(!same.headers().contains_key(CONTENT_TYPE));
        assert_eq!(
            same.headers()[CACHE_CONTROL],
            "public, max-age=31536000, immutable"
        );
        assert_eq!(same.headers()[ETAG], "\"v1\"");
        let other = conditional(&request, "v2", fresh());
        assert_eq!(other.status(), StatusCode::OK);
        let refused = conditional(&request, "v1", not_found());
        assert_eq!(refused.status(), StatusCode::NOT_FOUND);
        let unlawful = conditional(&request, "a\"b", fresh());
        assert!(!unlawful.headers().contains_key(ETAG));
    }

    #[test]
    fn errors_are_plain_text_and_never_cached() {
        let response = error(StatusCode::BAD_REQUEST, "no\n");
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(
            response.headers()[CONTENT_TYPE],
            "text/plain; charset=utf-8"
        );
        assert_eq!(too_busy("later\n", 7).headers()[RETRY_AFTER], "7");
    }
}
