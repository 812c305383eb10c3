//! Moments that are any duration away.

use std::time::{Duration, Instant};

/// `now + duration`, or a moment that nobody will see when that does not exist: a user may give
/// `Duration::MAX` and mean "for ever".
pub(crate) fn after(now: Instant, duration: Duration) -> Instant {
    const FOR_EVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);
    now.checked_add(duration.min(FOR_EVER)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_ever_is_a_moment() {
        let now = Instant::now();
        assert!(after(now, Duration::MAX) > now + Duration::from_secs(1 << 20));
        assert_eq!(
            after(now, Duration::from_secs(1)),
            now + Duration::from_secs(1)
        );
    }
}
