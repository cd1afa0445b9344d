//! The time as an input: libraries are handed it and never ask.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds and nanoseconds since 1970, to be written into inodes and the journal.
///
/// `SOURCE_DATE_EPOCH` (whole seconds) stands in for the clock, so that the same input gives the
/// same image.
pub fn now() -> (i64, u32) {
    from(std::env::var("SOURCE_DATE_EPOCH").ok().as_deref()).unwrap_or_else(system)
}

/// The seconds that `SOURCE_DATE_EPOCH` says, where it says any.
pub fn source_date_epoch() -> Option<i64> {
    from(std::env::var("SOURCE_DATE_EPOCH").ok().as_deref()).map(|(sec, _)| sec)
}

fn from(source_date_epoch: Option<&str>) -> Option<(i64, u32)> {
    source_date_epoch?.trim().parse().ok().map(|it| (it, 0))
}

#[expect(clippy::disallowed_methods, reason = "the one place where the clock is read")]
fn system() -> (i64, u32) {
    // A clock before 1970 is a broken clock: 0 is as good as any answer.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_date_epoch_stands_in_for_the_clock() {
        assert_eq!(from(Some("1577836800")), Some((1_577_836_800, 0)));
        assert_eq!(from(Some("yesterday")), None);
        assert_eq!(from(None), None);
        assert!(system().0 > 1_577_836_800);
    }
}
