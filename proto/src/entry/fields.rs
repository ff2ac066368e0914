//! Entries whose body is a fixed number of lines, one field each.

use alloc::string::String;

use crate::body::shown;
use crate::entry::EntryError;

/// Splits a body into exactly so many lines, each with its newline.
///
/// # Errors
/// [`EntryError::Lines`] when there are more or fewer, or the last one does not end.
pub(super) fn lines<'a, const COUNT: usize>(
    kind: &'static str,
    body: &'a [u8],
) -> Result<[&'a str; COUNT], EntryError> {
    let wrong = EntryError::Lines { kind, due: COUNT };
    let text = core::str::from_utf8(body).map_err(|_| wrong.clone())?;
    let Some(text) = text.strip_suffix('\n') else {
        return Err(wrong);
    };
    let mut lines = text.split('\n');
    let mut found = [""; COUNT];
    for line in &mut found {
        *line = lines.next().ok_or_else(|| wrong.clone())?;
    }
    match lines.next() {
        None => Ok(found),
        Some(_) => Err(wrong),
    }
}

/// A field that is not as it must be.
pub(super) fn wrong(field: &'static str, found: &str) -> EntryError {
    EntryError::Field {
        field,
        found: shown(found),
    }
}

/// Reads a token: 1 to `chars_max` lower-case letters, digits and hyphens.
pub(super) fn token(
    field: &'static str,
    text: &str,
    chars_max: usize,
) -> Result<String, EntryError> {
    let proper = (1..=chars_max).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    proper
        .then(|| String::from(text))
        .ok_or_else(|| wrong(field, text))
}
