//! What was imported, as the text of policy files: the same input gives the same bytes.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::{Imported, Vpc};
use crate::prefix::PrefixList;
use crate::prefix::text::excerpt;

/// The first line of every file that is written here. A file without it is somebody's own.
pub const MARK: &str = "# written by swf-filter import, which will overwrite it\n";

/// What was read.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// How the operator calls it.
    pub name: &'a str,
    /// All of it.
    pub bytes: &'a [u8],
}

/// A set to be written.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a> {
    /// The set's name.
    pub name: &'a str,
    /// The set file's name, beside the policy file.
    pub file: &'a str,
    /// Whether the daemon is to follow the file, and the fewest and most prefixes that it may then have.
    pub follow: Option<(usize, Option<usize>)>,
}

impl Set<'_> {
    /// The policy file: the block that names the set file. Nothing in it depends on what was read.
    #[must_use]
    pub fn policy(&self) -> String {
        let mut text = format!(
            "{MARK}version = 1\n\n[[set]]\nname = \"{}\"\nfile = \"{}\"\n",
            self.name, self.file
        );
        if let Some((least, most)) = self.follow {
            let _ = writeln!(text, "follow = true\nmin_prefixes = {least}");
            if let Some(most) = most {
                let _ = writeln!(text, "max_prefixes = {most}");
            }
        }
        text
    }

    /// The set file. `kept` says in words which part of the input it is.
    #[must_use]
    pub fn list(&self, imported: &Imported, inputs: &[Input<'_>], kept: &[String]) -> String {
        let mut text = String::from(MARK);
        origin(&mut text, inputs);
        for words in imported.about.iter().chain(kept) {
            comment(&mut text, words);
        }
        let prefixes = &imported.prefixes;
        let _ = writeln!(
            text,
            "# {} prefixes of {} read",
            prefixes.len(),
            imported.read
        );
        for prefix in texts(prefixes) {
            let _ = writeln!(text, "{prefix}");
        }
        text
    }
}

/// What ties a VPC's packets to where they come in, which AWS does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tie {
    /// An interface.
    Interface(String),
    /// A VLAN.
    Vlan(u16),
}

/// VPCs to be written.
#[derive(Clone, Copy, Debug)]
pub struct VpcFile<'a> {
    /// The VPCs, ascending.
    pub vpcs: &'a [Vpc],
    /// By their ids, what ties them.
    pub ties: &'a [(String, Tie)],
}

impl VpcFile<'_> {
    /// The policy file.
    #[must_use]
    pub fn policy(&self, inputs: &[Input<'_>], kept: &[String]) -> String {
        let mut text = String::from(MARK);
        origin(&mut text, inputs);
        for words in kept {
            comment(&mut text, words);
        }
        text.push_str("version = 1\n");
        for vpc in self.vpcs {
            text.push_str("\n[[vpc]]");
            if let Some(name) = &vpc.name {
                let _ = write!(text, "   # {}", excerpt(name));
            }
            let _ = write!(text, "\nid = \"{}\"\n", vpc.id);
            let cidrs = texts(&vpc.cidrs).map(|cidr| format!("\"{cidr}\""));
            field(&mut text, "cidrs", cidrs);
            let ties = || self.ties.iter().filter(|(id, _)| *id == vpc.id);
            field(
                &mut text,
                "interfaces",
                ties().filter_map(|(_, tie)| match tie {
                    Tie::Interface(name) => Some(format!("{name:?}")),
                    Tie::Vlan(_) => None,
                }),
            );
            field(
                &mut text,
                "vlans",
                ties().filter_map(|(_, tie)| match tie {
                    Tie::Interface(_) => None,
                    Tie::Vlan(vlan) => Some(vlan.to_string()),
                }),
            );
            if !vpc.endpoints.is_empty() {
                text.push_str("endpoints = [\n");
                for (id, service) in &vpc.endpoints {
                    let _ = writeln!(text, "    \"{id}\",   # {}", excerpt(service));
                }
                text.push_str("]\n");
            }
        }
        text
    }
}

fn field(text: &mut String, name: &str, values: impl Iterator<Item = String>) {
    let values: Vec<String> = values.collect();
    if !values.is_empty() {
        let _ = writeln!(text, "{name} = [{}]", values.join(", "));
    }
}

fn texts(prefixes: &PrefixList) -> impl Iterator<Item = String> {
    let v4 = prefixes.v4.iter().map(ToString::to_string);
    v4.chain(prefixes.v6.iter().map(ToString::to_string))
}

fn origin(text: &mut String, inputs: &[Input<'_>]) {
    for input in inputs {
        let hash = Sha256::digest(input.bytes);
        let hash = hash.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let _ = writeln!(text, "# from {}, sha256 {hash}", excerpt(input.name));
    }
}

/// Words of the input's own: whatever they are, they stay one comment.
fn comment(text: &mut String, words: &str) {
    let _ = writeln!(text, "# {}", excerpt(words));
}
