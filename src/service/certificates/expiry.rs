//! The end of a certificate's validity, and the time from which it is a notice for operators.

/// The longest time before its end from which a certificate counts as expiring.
const SOON_MS: u64 = 14 * 24 * 60 * 60 * 1000;

/// How near a certificate is to the end of its validity. Later states are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expiry {
    /// It is valid for longer.
    Far,
    /// It ends within 14 days, or within a third of its validity if that is less: programs that renew certificates do
    /// it earlier.
    Soon,
    /// It has ended.
    Past,
}

impl Expiry {
    /// The state at `now_ms` of a certificate that is valid between these times, in Unix ms.
    pub fn at(now_ms: u64, not_before_ms: u64, not_after_ms: u64) -> Self {
        let soon = SOON_MS.min(not_after_ms.saturating_sub(not_before_ms) / 3);
        match not_after_ms.checked_sub(now_ms) {
            None => Self::Past,
            Some(left) if left <= soon => Self::Soon,
            Some(_) => Self::Far,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1000;

    #[test]
    fn a_certificate_counts_as_expiring_in_its_last_two_weeks_or_its_last_third() {
        for (validity, last_far) in [(365, 350), (90, 75), (6, 3)] {
            assert_eq!(Expiry::at(last_far * DAY, 0, validity * DAY), Expiry::Far);
            assert_eq!(Expiry::at((last_far + 1) * DAY, 0, validity * DAY), Expiry::Soon);
            assert_eq!(Expiry::at(validity * DAY, 0, validity * DAY), Expiry::Soon);
            assert_eq!(Expiry::at(validity * DAY + 1, 0, validity * DAY), Expiry::Past);
        }
    }
}
