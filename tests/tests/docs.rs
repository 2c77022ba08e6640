//! Files that documents show: what reads such files has to take each of them.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use swf_filter::config::Config;
use swf_filter::files;
use swf_filter::listener::settings::Settings;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");

/// What examples refer to and do not show.
const OTHER_PRINCIPALS: &str =
    "version = 1\n[[account]]\nid = \"111122223333\"\n[[user]]\nname = \"alice\"\npath = \"/\"\n";
const OTHER_VPC: &str = "version = 1\n[[vpc]]\nid = \"vpc-other\"\ncidrs = [\"10.1.0.0/16\"]\n\
    interfaces = [\"eth9\"]\nendpoints = [\"vpce-0a1\"]\n";

/// The blocks of TOML in a document.
fn blocks(text: &str) -> Vec<&str> {
    let parts = text.split("\n```toml\n").skip(1);
    parts
        .filter_map(|part| Some(part.split_once("\n```")?.0))
        .collect()
}

/// What a block is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Config,
    Listener,
    Observe,
    Policy,
    Principals,
}

fn part_of(block: &str) -> Part {
    let has = |words: &str| block.lines().any(|line| line.starts_with(words));
    if has("[[listener]]") {
        Part::Listener
    } else if has("[[account]]") {
        Part::Principals
    } else if has("[[") {
        Part::Policy
    } else if has("interfaces") {
        Part::Config
    } else {
        Part::Observe
    }
}

/// A document that an example names, by what it is named for.
fn document(field: &str) -> &'static str {
    match field {
        "trust" => {
            r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole",
                "Principal": {"AWS": "arn:aws:iam::111122223333:root"}}}"#
        }
        "resource_policies" => {
            r#"{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "swf:*", "Resource": "*",
                "Principal": "*", "Condition": {"IpAddress": {"aws:SourceIp": "203.0.113.1/32"}}}}"#
        }
        _ => {
            r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "swf:*", "Resource": "*"}}"#
        }
    }
}

/// Writes what a block names beside it.
fn write_named(block: &str, folder: &Path) -> Result<()> {
    for line in block.lines() {
        let Some((field, value)) = line.split_once('=') else {
            continue;
        };
        for name in value.split('"').skip(1).step_by(2) {
            let ending = Path::new(name).extension().and_then(OsStr::to_str);
            match ending {
                Some("json") => fs::write(folder.join(name), document(field.trim()))?,
                Some("txt") => fs::write(folder.join(name), "192.0.2.0/28\n")?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// Reads all examples of a document, those of a policy together. Gives how many there are.
fn read(text: &str) -> Result<usize> {
    let blocks = blocks(text);
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    for name in ["policy.d", "principals.d"] {
        fs::create_dir(path(name))?;
    }
    let whole = |block: &str| {
        if block.lines().any(|line| line.starts_with("version")) {
            block.to_owned()
        } else {
            format!("version = 1\n{block}")
        }
    };
    let (listener, config) = (path("listener.toml"), path("config.toml"));
    for (number, block) in blocks.iter().enumerate() {
        let file = format!("{number}0.toml");
        match part_of(block) {
            Part::Config => {
                fs::write(&config, block)?;
                Config::load(&config).with_context(|| format!("in {block}"))?;
            }
            Part::Listener => {
                fs::write(&listener, block)?;
                Settings::load(&listener).with_context(|| format!("in {block}"))?;
            }
            Part::Observe => {
                fs::write(
                    &config,
                    format!("version = 1\ninterfaces = [\"eth0\"]\n{block}\n"),
                )?;
                Config::load(&config).with_context(|| format!("in {block}"))?;
            }
            Part::Policy => {
                write_named(block, &path("policy.d"))?;
                fs::write(path("policy.d").join(file), whole(block))?;
            }
            Part::Principals => {
                write_named(block, &path("principals.d"))?;
                fs::write(path("principals.d").join(file), whole(block))?;
            }
        }
    }
    let is_there = |part| blocks.iter().any(|block| part_of(block) == part);
    if !is_there(Part::Principals) {
        fs::write(path("principals.d/other.toml"), OTHER_PRINCIPALS)?;
        fs::write(path("policy.d/other.toml"), OTHER_VPC)?;
    }
    // Expectations are examples of what can be expected, and not of this very policy: they are read, and not held against it.
    let loaded = files::load(&path("policy.d"), &[])?;
    ensure!(
        loaded.policy.hosts.is_empty() != is_there(Part::Policy),
        "a policy without hosts"
    );
    Ok(blocks.len())
}

fn documents() -> Result<Vec<(String, String)>> {
    let mut documents = Vec::new();
    for entry in fs::read_dir(DOCS)? {
        let path = entry?.path();
        documents.push((path.display().to_string(), fs::read_to_string(&path)?));
    }
    Ok(documents)
}

#[test]
fn every_example_of_the_docs_is_read() -> Result<()> {
    let mut count = 0;
    for (name, text) in documents()? {
        count += read(&text).with_context(|| name)?;
    }
    // Far fewer would mean that they are written in a form that is not found here.
    ensure!(count >= 10, "{count} examples");
    Ok(())
}

#[test]
fn a_word_that_is_not_known_is_noticed_in_each_kind_of_example() -> Result<()> {
    for (name, known, wrong) in [
        ("iam.md", "resource_policies = ", "resource_polices = "),
        (
            "iam.md",
            "max_session_duration = ",
            "max_session_duratoin = ",
        ),
        (
            "listener.md",
            "connections_per_address ",
            "connections_per_adress ",
        ),
        ("observe.md", "dashboard = ", "dashbord = "),
        ("policy.md", "on_boot_failure = \"", "on_boot_failiure = \""),
        ("policy.md", "\"set:offices\"", "\"set:office\""),
        ("policy.md", "packet = \"drop\"", "packet = \"drops\""),
    ] {
        let text = fs::read_to_string(Path::new(DOCS).join(name))?;
        ensure!(text.contains(known), "{name} has no `{known}`");
        ensure!(read(&text.replace(known, wrong)).is_err(), "{wrong}");
    }
    Ok(())
}
