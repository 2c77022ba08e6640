//! Texts as the types that operators compare.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnetwork::IpNetwork;
use jiff::Timestamp;
use jiff::civil;
use jiff::tz::TimeZone;

use super::addresses::AddressSet;
use crate::prefix::{Prefix, PrefixList};

/// Whether `text` is an address, and one of `set`.
pub(super) fn contains(set: &AddressSet, text: &str) -> bool {
    match text.parse() {
        Ok(IpAddr::V4(address)) => set.v4.contains(address.to_bits()),
        Ok(IpAddr::V6(address)) => set.v6.contains(address.to_bits()),
        Err(_) => false,
    }
}

/// Adds an address or a CIDR, of which the bits past its length do not matter, to `list`.
pub(super) fn prefix(text: &str, list: &mut PrefixList) -> Option<()> {
    // `ipnetwork` reads netmasks too, which IAM does not.
    let (_, length) = text.split_once('/').unwrap_or((text, "0"));
    let is_decimal = length == "0" || !length.starts_with('0');
    if length.is_empty() || !is_decimal || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match text.parse().ok()? {
        IpNetwork::V4(network) => list
            .v4
            .push(Prefix::containing(network.ip().to_bits(), network.prefix())),
        IpNetwork::V6(network) => list
            .v6
            .push(Prefix::containing(network.ip().to_bits(), network.prefix())),
    }
    Some(())
}

/// Bytes in base64.
pub(super) fn binary(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// `true` or `false`.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A point in time, as documents write it. Fewer texts than [`date`] reads: none that may be meant in two ways.
pub(super) fn written_date(text: &str) -> Option<i128> {
    let plain = |byte: u8| byte.is_ascii_digit() || b"+-.:TZ".contains(&byte);
    // ISO 8601 has years and days of these lengths, which would be read as seconds of 1970.
    let is_day = matches!(text.len(), 4 | 8) && text.bytes().all(|byte| byte.is_ascii_digit());
    let time = text.split_once('T').map(|(_, time)| time);
    let zone = time.and_then(|time| time.split_once(['+', '-']));
    let is_zone = zone.is_none_or(|(_, zone)| zone < "24");
    let right = text.bytes().all(plain) && !is_day && is_zone;
    right.then(|| date(text)).flatten()
}

/// A point in time: ISO 8601, of which a date alone means its midnight in UTC, or seconds since 1970.
pub(super) fn date(text: &str) -> Option<i128> {
    if text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-' || byte == b'.')
        && let Some(seconds) = seconds(text)
    {
        return Some(seconds);
    }
    let moment = text.parse::<Timestamp>().ok().or_else(|| {
        // A time of day without zone would be read as midnight.
        let date = (text.len() == 10).then(|| text.parse::<civil::Date>().ok())??;
        date.to_zoned(TimeZone::UTC)
            .ok()
            .map(|zoned| zoned.timestamp())
    });
    moment.map(Timestamp::as_nanosecond)
}

fn seconds(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || !plain(fraction) || fraction.len() > 9 || whole.len() > 18 {
        return None;
    }
    let whole: i128 = whole.parse().ok()?;
    let fraction: i128 = format!("{fraction:0<9}").parse().ok()?;
    Some(sign * (whole * 1_000_000_000 + fraction))
}

/// A decimal number.
pub(super) fn number(text: &str) -> Option<f64> {
    // `inf` and `nan` are numbers to the standard library.
    let decimal =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
    let number: f64 = text.bytes().all(decimal).then(|| text.parse().ok())??;
    number.is_finite().then_some(number)
}
