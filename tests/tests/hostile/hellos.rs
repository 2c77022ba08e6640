//! Handshakes that begin wrong: each is counted, and the log, which is for administrators, says nothing of them.

use std::{
    io::{Read, Write},
    net::Shutdown,
};

use anyhow::{Result, ensure};
use swf_filter_tests::{client::connect, stage::ONE, wait::wait_until, world::DEADLINE};

use crate::stage::Scene;

/// A fatal alert, `handshake_failure`, in place of the first record.
const ALERT: &[u8] = &[0x15, 3, 3, 0, 2, 2, 40];

/// What has its length before it, in so many bytes.
fn sized(width: usize, parts: &[&[u8]]) -> Vec<u8> {
    let bytes = parts.concat();
    let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
    [&length[4 - width..], &bytes].concat()
}

/// A `ClientHello` (RFC 8446, 4.1.2) that asks for a server by this name (RFC 6066, 3).
fn hello(name: &[u8]) -> Vec<u8> {
    let extension =
        |kind: u16, data: &[u8]| [kind.to_be_bytes().to_vec(), sized(2, &[data])].concat();
    let names = sized(2, &[&[0], &sized(2, &[name])]);
    let extensions = [
        extension(0, &names),
        extension(10, &sized(2, &[&[0, 29]])),
        extension(13, &sized(2, &[&[4, 3, 8, 4]])),
        extension(43, &sized(1, &[&[3, 4, 3, 3]])),
        extension(51, &sized(2, &[])),
    ]
    .concat();
    let random = [7; 32];
    let suites = sized(2, &[&[0x13, 1, 0xc0, 0x2b]]);
    let body = [
        &[3, 3],
        &random[..],
        &sized(1, &[]),
        &suites,
        &sized(1, &[&[0]]),
        &sized(2, &[&extensions]),
    ];
    let message = [&[1], &*sized(3, &body)].concat();
    [&[0x16, 3, 1], &*sized(2, &[&message])].concat()
}

#[test]
fn wrong_hellos_are_counted_and_leave_the_log_alone() -> Result<()> {
    const EACH: u64 = 20;
    let Some(scene) = Scene::new("hellos", "")? else {
        return Ok(());
    };
    let before = scene.stage.listener.stderr();
    let long = b"\xff".repeat(14_000);
    for first in [&hello(b"192.0.2.1"), &hello(&long), ALERT] {
        for _ in 0..EACH {
            let mut stream = connect(&scene.stage.world.one, ONE)?;
            stream.write_all(first)?;
            stream.shutdown(Shutdown::Write)?;
            // It may be reset.
            let _ended = stream.read_to_end(&mut Vec::new());
        }
    }
    let mut refusals = scene.stage.refusals("direct")?;
    wait_until(DEADLINE, "that all are counted", || {
        refusals = scene.stage.refusals("direct").unwrap_or_default();
        refusals.values().sum::<u64>() == 3 * EACH
    });
    println!("{refusals:?}");
    let after = scene.stage.listener.stderr();
    // Records beyond what is written a second are told of in one line.
    let said = after[before.len()..].lines();
    let said: Vec<&str> = said
        .filter(|line| !line.contains("audit records were lost"))
        .collect();
    ensure!(said.is_empty(), "{said:.1000?}");
    Ok(())
}
