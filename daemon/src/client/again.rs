//! When somebody who failed is asked again.

use std::time::Duration;

use super::ClientResponse;

/// The pause after so many failures in a row: half a second, then twice as long, and so on.
pub fn pause_after(failures: u32) -> Duration {
    let doubled = PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(PAUSE_MAX)
}

/// When somebody asks to be asked again, within reason.
pub fn retry_after(answer: &ClientResponse) -> Option<Duration> {
    let value = answer.headers.get("retry-after")?;
    let seconds = value.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(PAUSE_MAX))
}

/// The first pause after a failure; each further one doubles it.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest: nobody is forgotten.
pub const PAUSE_MAX: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: GSP-105
    #[test]
    fn pauses_double_up_to_ten_minutes_and_never_overflow() {
        let pauses = [1, 2, 3, 11, 12, 1_000, u32::MAX].map(pause_after);
        let ms = [500, 1_000, 2_000, 512_000, 600_000, 600_000, 600_000];
        assert_eq!(pauses, ms.map(Duration::from_millis));
    }
}
