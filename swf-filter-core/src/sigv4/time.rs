//! The two ways in which requests tell their time.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// The basic form of ISO 8601 that AWS uses.
const BASIC: &str = "%Y%m%dT%H%M%SZ";

/// Reads `20150830T123600Z`, and nothing that only looks like it.
pub(super) fn basic(text: &str) -> Option<Timestamp> {
    let time = DateTime::strptime(BASIC, text).ok()?;
    let time = time.to_zoned(TimeZone::UTC).ok()?.timestamp();
    (written(time) == text).then_some(time)
}

/// Reads the `Date` header field: as RFC 2822 and RFC 9110, section 5.6.7, write it, or in the basic form.
pub(super) fn of_date_field(text: &str) -> Option<Timestamp> {
    basic(text).or_else(|| {
        let time = jiff::fmt::rfc2822::parse(text).ok()?;
        Some(time.timestamp())
    })
}

/// In the basic form.
pub(super) fn written(time: Timestamp) -> String {
    time.strftime(BASIC).to_string()
}

/// The day of a time, as in scopes.
pub(super) fn day(time: Timestamp) -> String {
    time.strftime("%Y%m%d").to_string()
}

/// A time some while later, or the last that there is.
pub(super) fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// A time some while earlier, or the first that there is.
pub(super) fn earlier(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_sub(by).unwrap_or(Timestamp::MIN)
}
