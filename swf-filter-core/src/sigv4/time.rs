//! The two ways in which requests tell their time.

use jiff::civil::{Date, Time};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

/// The basic form of ISO 8601 that AWS uses.
const BASIC: &str = "%Y%m%dT%H%M%SZ";

/// Reads `20150830T123600Z`, and nothing that only looks like it.
pub(super) fn basic(text: &str) -> Option<Timestamp> {
    let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (day.len(), time.len()) != (8, 6) || !is_digits(day) || !is_digits(time) {
        return None;
    }
    let two = |text: &str, from: usize| text.get(from..from + 2)?.parse().ok();
    let date = Date::new(day.get(..4)?.parse().ok()?, two(day, 4)?, two(day, 6)?).ok()?;
    let time = Time::new(two(time, 0)?, two(time, 2)?, two(time, 4)?, 0).ok()?;
    Offset::UTC.to_timestamp(date.to_datetime(time)).ok()
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

/// A time some while later, or the last that there is.
pub(super) fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// A time some while earlier, or the first that there is.
pub(super) fn earlier(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_sub(by).unwrap_or(Timestamp::MIN)
}
