//! Deny lists on trial, and `swf-filter learn`: what is reported, what passes all the same, and what is proposed.

use anyhow::{Result, ensure};
use swf_filter_tests::frames::Frame;
use swf_filter_tests::process::Child;
use swf_filter_tests::wait::wait_until;
use swf_filter_tests::world::{DEADLINE, World};

const HOST: &str = "198.51.100.10";
const TRIAL: &str = "198.51.100.20";
const ALLOWED: &str = "192.0.2.1";
const TRIED: &str = "192.0.2.66";
const STRANGER: &str = "203.0.113.9";
const TENANT: &str = "10.0.0.7";

const POLICY: &str = "version = 1\n\
    [[host]]\nname = \"swf\"\naddresses = [\"198.51.100.10\"]\nallow = [\"192.0.2.0/24\"]\n\
    audit = [\"192.0.2.64/26\", \"203.0.113.0/24\"]\n\
    [[host]]\nname = \"trial\"\naddresses = [\"198.51.100.20\"]\nmode = \"audit\"\nallow = [\"192.0.2.1\"]\n\
    [[vpc]]\nid = \"vpc-one\"\ncidrs = [\"10.0.0.0/8\"]\ninterfaces = [\"eth1\"]\n";

fn frame(source: &str, host: &str) -> Vec<u8> {
    let [source, host] = [source, host].map(|text| text.parse().expect("an address"));
    Frame::ip(source, host).tcp(40_000, 443).to_bytes()
}

#[test]
fn entries_on_trial_report_and_what_was_seen_is_proposed() -> Result<()> {
    let Some(world) = World::silent("learn")? else {
        return Ok(());
    };
    world.write_config("events_per_second = 1000000\n")?;
    world.write_policy("10.toml", POLICY)?;
    let _daemon = world.attached_daemon()?;
    let wire = world.wire_one()?;
    let passes = |source, host| wire.passes(&frame(source, host));

    ensure!(
        passes(ALLOWED, HOST)? && passes(TRIED, HOST)?,
        "an entry on trial drops"
    );
    ensure!(!passes(STRANGER, HOST)?, "an entry on trial lets in");
    let reasons = world.reasons()?;
    let count = |reason: &str| reasons.get(reason).copied();
    ensure!(count("audit-deny") == Some(1), "{reasons:?}");
    ensure!(count("default-drop") == Some(1), "{reasons:?}");
    let explained = world.ask(&["explain", "--live", "--from", TRIED, "--to", HOST])?;
    ensure!(explained["list"] == "audit", "{explained}");

    let mut command = world.command();
    command.args(["learn", "--for", "3s", "--widen", "24,64"]);
    let mut learner = Child::spawn("learn", &mut command)?;
    wait_until(DEADLINE, "the end of the lesson", || {
        for source in [STRANGER, TENANT] {
            let _passed = passes(source, TRIAL);
        }
        let _passed = (passes(TRIED, HOST), passes(STRANGER, HOST));
        learner.status().ok().flatten().is_some()
    });
    let text = learner.stdout();
    for words in [
        "# host `trial`: add to its `allow`: \"set:learned-trial\", \"vpc:vpc-one\"",
        "    \"203.0.113.0/24\",   # ",
        "# host `swf`: nothing to allow",
        "denied by `192.0.2.64/26`, which `allow` does not change",
    ] {
        ensure!(
            text.contains(words),
            "no `{words}` in {text}{}",
            learner.stderr()
        );
    }
    // What is proposed is a policy file, and lets in what was seen.
    world.write_policy("20.toml", &text)?;
    let entries = "\"192.0.2.1\", \"set:learned-trial\", \"vpc:vpc-one\"";
    let more = POLICY.replace("allow = [\"192.0.2.1\"]", &format!("allow = [{entries}]"));
    world.write_policy("10.toml", more)?;
    world.reload()?;
    let explained = world.ask(&["explain", "--from", STRANGER, "--to", TRIAL])?;
    ensure!(explained["reason"] == "allow", "{explained}");
    Ok(())
}
