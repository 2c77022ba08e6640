//! The SSH connection that a command is run over, so that nobody cuts off the branch that they sit on.

use std::env;
use std::fs;
use std::net::{IpAddr, SocketAddr};

use crate::control::api::Operator;
use crate::dataplane::interfaces;

/// What sshd tells of the connection (`ssh(1)`, environment): both ends, as address and port.
const VARIABLE: &str = "SSH_CONNECTION";

/// Processes above this one that are looked at: `sudo` takes the variable away.
const MOST_PARENTS: usize = 32;

/// The connection, if there is one.
pub(super) fn operator() -> Option<Operator> {
    let own = env::var(VARIABLE).ok();
    let own = own.as_deref().and_then(parse);
    let (from, to) = own.or_else(|| parse(&of_parents()?))?;
    Some(Operator {
        from,
        to,
        interface: interface(to.ip()),
    })
}

fn parse(text: &str) -> Option<(IpAddr, SocketAddr)> {
    let mut words = text.split_ascii_whitespace();
    let mut end = || -> Option<SocketAddr> {
        let address: IpAddr = words.next()?.parse().ok()?;
        // sshd on a socket of both families writes IPv4 so.
        Some(SocketAddr::new(
            address.to_canonical(),
            words.next()?.parse().ok()?,
        ))
    };
    let (from, to) = (end()?, end()?);
    (from.is_ipv4() == to.is_ipv4()).then_some((from.ip(), to))
}

fn of_parents() -> Option<String> {
    let mut pid = std::process::id();
    for _ in 0..MOST_PARENTS {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        pid = parent.trim().parse().ok().filter(|parent| *parent > 1)?;
        // One of another user cannot be read; one above it may.
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if let Some(found) = variable(&environment) {
            return Some(found);
        }
    }
    None
}

/// The variable in an environment as `/proc` shows it (`proc_pid_environ(5)`).
fn variable(environment: &[u8]) -> Option<String> {
    environment.split(|byte| *byte == 0).find_map(|entry| {
        let text = std::str::from_utf8(entry).ok()?;
        let value = text.strip_prefix(VARIABLE)?.strip_prefix('=')?;
        Some(value.to_owned())
    })
}

/// The interface that has the address. If none has, the daemon thinks of all.
fn interface(address: IpAddr) -> Option<String> {
    let found = super::runtime().ok()?.block_on(async {
        let (interfaces, _) = interfaces::open()?;
        interfaces.with_address(address).await
    });
    Some(found.ok()??.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_read() {
        let (from, to) = parse("203.0.113.5 51000 198.51.100.10 22").unwrap();
        assert_eq!(from.to_string(), "203.0.113.5");
        assert_eq!(to.to_string(), "198.51.100.10:22");
        let (from, to) = parse("::ffff:203.0.113.5 51000 ::ffff:198.51.100.10 22").unwrap();
        assert!(from.is_ipv4() && to.is_ipv4());
        assert!(parse("2001:db8::5 51000 2001:db8::10 22").is_some());
        for wrong in [
            "",
            "203.0.113.5 51000 198.51.100.10",
            "203.0.113.5 x 198.51.100.10 22",
            "203.0.113.5 51000 2001:db8::10 22",
            "UNKNOWN 65535 UNKNOWN 65535",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_variable_is_found_among_others() {
        let environment = b"PATH=/bin\0SSH_CONNECTIONS=no\0SSH_CONNECTION=a 1 b 2\0HOME=\xff\0";
        assert_eq!(variable(environment).as_deref(), Some("a 1 b 2"));
        assert_eq!(variable(b"XSSH_CONNECTION=a\0"), None);
    }
}
