//! The packet gate as its daemon runs it, once with each engine.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use swf_filter_tests::process::Child;
use swf_filter_tests::world::World;

use crate::lists::List;

/// Table engines, by their name in config.toml.
const ENGINES: [&str; 2] = ["lpm-trie", "compiled"];
/// The one that there was before there was a choice.
const ONLY: &str = ENGINES[0];

/// Hosts of the large shapes.
pub(crate) const HOSTS: usize = 256;
/// Zones with a VLAN each; the public one makes it 256.
pub(crate) const VLANS: u16 = 255;
/// Rules that prefixes are spread over where there are many.
const RULES: usize = 64;
/// The port that is protected.
pub(crate) const PORT: u16 = 443;

/// A daemon with one engine, attached in a world of its own.
pub(crate) struct Gate {
    pub(crate) engine: &'static str,
    pub(crate) world: World,
    pub(crate) daemon: Child,
}

/// What a policy looks like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shape {
    /// As many hosts and zones as there can be, and all prefixes let in to each host.
    Hosts,
    /// As many hosts and zones as there can be, and a share of the prefixes for each host.
    Lists,
    /// One host that lets in all prefixes, by one rule.
    One,
    /// One host, and prefixes that belong to 64 rules.
    Rules,
}

impl Shape {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hosts => "256 hosts and zones, one list",
            Self::Lists => "256 hosts and zones, a list each",
            Self::One => "1 host",
            Self::Rules => "1 host, 64 rules",
        }
    }

    pub(crate) fn hosts(self) -> usize {
        match self {
            Self::Hosts | Self::Lists => HOSTS,
            Self::One | Self::Rules => 1,
        }
    }

    /// Whether packets come in VLANs, which is what zones are told by.
    pub(crate) fn is_tagged(self) -> bool {
        self.hosts() > 1
    }
}

/// Starts a daemon for each engine that is built in, and says what is left out.
pub(crate) fn start(name: &str) -> Result<(Vec<Gate>, Vec<String>)> {
    let mut gates = Vec::new();
    let mut notes = Vec::new();
    for engine in ENGINES {
        let Some(world) = World::silent(&format!("{name}-{engine}"))? else {
            bail!("this needs root, and `cargo xtask bench` to run it");
        };
        world.write_policy("10.toml", "version = 1\n")?;
        world.write_config(&format!("engine = \"{engine}\"\n"))?;
        if let Err(refusal) = world.ask(&["check"]) {
            if engine != ONLY {
                notes.push(format!(
                    "engine `{engine}`: not measured, this build does not take it"
                ));
                continue;
            }
            world.write_config("")?;
            world
                .ask(&["check"])
                .with_context(|| format!("{refusal:#}"))?;
        }
        let daemon = world.attached_daemon()?;
        gates.push(Gate {
            engine,
            world,
            daemon,
        });
    }
    ensure!(!gates.is_empty(), "no engine");
    Ok((gates, notes))
}

impl Gate {
    /// Writes a policy and brings it into force; gives the daemon's answer.
    pub(crate) fn enforce(&self, shape: Shape, lists: &[List]) -> Result<serde_json::Value> {
        self.write(shape, lists)?;
        self.world.ask(&["reload"])
    }

    /// Writes a policy that lets in these lists.
    pub(crate) fn write(&self, shape: Shape, lists: &[List]) -> Result<()> {
        let mut text = String::from("version = 1\n");
        let sets = match shape {
            Shape::Hosts | Shape::One => 1,
            Shape::Lists => HOSTS,
            Shape::Rules => RULES,
        };
        let shares: Vec<Vec<List>> = lists.iter().map(|list| list.shares(sets)).collect();
        for set in 0..sets {
            let file: String = shares.iter().map(|shares| shares[set].text()).collect();
            fs::write(self.world.policies().join(format!("{set}.txt")), file)?;
            write!(text, "[[set]]\nname = \"s{set}\"\nfile = \"{set}.txt\"\n")?;
        }
        for host in 0..shape.hosts() {
            let allow: Vec<String> = match shape {
                Shape::Lists => vec![format!("\"set:s{host}\"")],
                _ => (0..sets).map(|set| format!("\"set:s{set}\"")).collect(),
            };
            let (v4, v6) = (v4(host), v6(host));
            write!(
                text,
                "[[host]]\nname = \"h{host}\"\naddresses = [\"{v4}\", \"{v6}\"]\nports = [{PORT}]\nallow = [{}]\n",
                allow.join(", ")
            )?;
        }
        if shape.is_tagged() {
            for vlan in 1..=VLANS {
                write!(
                    text,
                    "[[vpc]]\nid = \"vpc-{vlan:08x}\"\ncidrs = [\"10.{vlan}.0.0/16\"]\nvlans = [{vlan}]\n"
                )?;
            }
        }
        self.world.write_policy("10.toml", text)
    }
}

/// The last two bytes of a host's addresses.
pub(crate) fn number(host: usize) -> u16 {
    u16::try_from(host + 1).expect("there are some hundred")
}

/// A host's IPv4 address, in the range for benches (RFC 2544).
pub(crate) fn v4(host: usize) -> String {
    let [high, low] = number(host).to_be_bytes();
    format!("198.18.{high}.{low}")
}

/// A host's IPv6 address, in the range for benches (RFC 5180).
pub(crate) fn v6(host: usize) -> String {
    format!("2001:2::{:x}", number(host))
}
