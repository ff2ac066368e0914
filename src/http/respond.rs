//! Responses in the forms that the routes use, on the listener's own.

use bytes::Bytes;
use jurat_daemon::http::{
    self, HeaderMap, Request, Response, StatusCode, accepts_gzip, accepts_json, header,
};
use jurat_proto::hash::sha256;

/// One line that says what was wrong and what would be right.
pub(super) fn error(status: u16, message: &str) -> Response {
    http::error(code(status), format!("{message}\n"))
}

/// Text as it is.
pub(super) fn text(status: u16, body: impl Into<Bytes>) -> Response {
    http::text(code(status), body)
}

/// Bytes of a type.
pub(super) fn bytes(content_type: &str, body: impl Into<Bytes>) -> Response {
    with_header(
        http::text(StatusCode::OK, body),
        header::CONTENT_TYPE,
        content_type,
    )
}

/// The response with one more header; a value that no header can hold is left out.
pub(super) fn with_header(
    mut response: Response,
    name: header::HeaderName,
    value: &str,
) -> Response {
    if let Ok(value) = header::HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// The response with an `ETag` of its body, or 304 when the client has it already.
pub(super) fn with_etag(request: &Request, body: &[u8], response: Response) -> Response {
    http::conditional(request.headers(), &sha256(body).to_base64(), response)
}

/// The status that a decision names.
pub(super) fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

pub(super) fn wants_json(headers: &HeaderMap) -> bool {
    accepts_json(headers)
}

pub(super) fn wants_gzip(headers: &HeaderMap) -> bool {
    accepts_gzip(headers)
}
