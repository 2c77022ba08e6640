//! What the gates do with a made-up packet, and with a request in it, worked out from the files alone.

mod request;
mod signature;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use ipnetwork::IpNetwork;
use swf_filter_common::abi::NONE_U16;
use swf_filter_common::image::{Engine, Image};
use swf_filter_common::verdict::{Verdict, judge};
use swf_filter_core::admission::{Way, zone};
use swf_filter_core::compile::image::{Placement, write};
use swf_filter_core::compile::{Generation, Hash, List, Tables, Zone, compile};
use swf_filter_core::judge::Judge;
use swf_filter_core::policy::limits;
use swf_filter_core::policy::parse::line_of;
use swf_filter_core::policy::{Effect, Entry, Origin, Policy, Source};
use swf_filter_core::prefix::PrefixList;

pub use self::request::Request;
pub(crate) use self::request::{decision, statements};
pub(crate) use self::signature::{
    Setting, SignatureExplanation, SignatureVerdict, explain as signature,
};
use crate::control::api::Explanation;
use crate::files::read_limited;
use crate::report::Rejected;
use crate::verdicts::by_documents;

/// A packet to ask about: the first of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// Where it comes from.
    pub from: IpAddr,
    /// Where it goes.
    pub to: SocketAddr,
    /// The interface that it comes in on; one that no VPC claims, if not given.
    pub interface: Option<&'a str>,
    /// The bonds that the interface is a member of.
    pub masters: &'a [Arc<str>],
    /// Its VLAN.
    pub vlan: Option<u16>,
    /// The request that is to be made, if that is asked about too.
    pub request: Option<Request<'a>>,
}

impl Question<'_> {
    /// How the packet comes in.
    fn way(self) -> Way {
        let own = self.interface.map(Arc::from);
        Way {
            interfaces: own
                .into_iter()
                .chain(self.masters.iter().cloned())
                .collect(),
            vlan: self.vlan,
        }
    }
}

/// The number that the interface has here, whatever it is on the machine.
const INTERFACE: u32 = 1;

/// Works out what the gates do with a packet and its request.
pub fn explain(policy: &Policy, question: Question<'_>) -> Result<Explanation> {
    let generation = compile(policy).map_err(Rejected::TooLarge)?;
    Explainer::new(policy, &generation).explain(question)
}

/// Answers questions about one policy.
pub struct Explainer<'a> {
    policy: &'a Policy,
    generation: &'a Generation,
    judge: Judge,
    /// The settings that the kernel would have, for the interface that was asked about last.
    image: Option<(Vec<Arc<str>>, Vec<u64>)>,
}

impl<'a> Explainer<'a> {
    /// For a policy and what it was compiled to.
    #[must_use]
    pub fn new(policy: &'a Policy, generation: &'a Generation) -> Self {
        Self {
            policy,
            generation,
            judge: Judge::new(policy),
            image: None,
        }
    }

    /// Works out what the packet gate does with a packet.
    pub fn verdict(&mut self, question: Question<'_>) -> Result<Verdict> {
        let frame = frame(question)?;
        let tables = Tables(self.generation);
        let image = Image::new(self.image(question)?);
        Ok(judge(frame.as_slice(), || INTERFACE, &image, &tables))
    }

    /// Works out whether the packet gate would let a packet through if no host were in audit mode.
    ///
    /// An audit list is another matter: it is there for what is not to be dropped yet.
    pub fn strict_effect(&mut self, question: Question<'_>) -> Result<Effect> {
        let verdict = self.verdict(question)?;
        let rule = self.generation.rule(verdict.rule);
        let is_tried = rule.is_some_and(|rule| rule.list == List::Audit);
        let Verdict { reason, .. } = verdict;
        let drops = reason.drops() || reason.would_drop() && !is_tried;
        Ok(if drops { Effect::Drop } else { Effect::Pass })
    }

    /// Works out what the gates do with a packet and its request.
    pub fn explain(&mut self, question: Question<'_>) -> Result<Explanation> {
        let verdict = self.verdict(question)?;
        let (policy, generation) = (self.policy, self.generation);
        let zone = generation.zones.get(zone(generation, &question.way()));
        let request = question.request.map(|request| {
            let zone = zone.filter(|_| verdict.host != NONE_U16);
            let zone = zone.with_context(|| format!("{} is no protected host", question.to))?;
            let host = usize::from(verdict.host);
            request::explain(policy, &self.judge, host, zone, question.from, request)
        });
        let rule = generation.rule(verdict.rule);
        let entry = rule.and_then(|_| entry(policy, generation, verdict.host, verdict.rule));
        let prefix = entry.and_then(|entry| prefixes(policy, entry)?.longest(question.from));
        let set_line = entry
            .zip(prefix)
            .and_then(|(entry, prefix)| set_line(policy, entry, question.from, prefix));
        Ok(Explanation {
            interface: question.interface.map(str::to_owned),
            dropped: verdict.reason.drops(),
            reason: verdict.reason.name().to_owned(),
            words: rule.and_then(|rule| by_documents(verdict.reason, generation, rule)),
            host: rule
                .and_then(|rule| generation.host_of(rule))
                .map(|host| Arc::clone(&host.name)),
            zone: zone.filter(|_| rule.is_some()).map(Zone::name),
            rule: rule.map(|rule| Arc::clone(&rule.text)),
            list: rule.map(|rule| rule.list),
            origin: rule.map(|rule| rule.origin.clone()),
            prefix,
            set_line,
            request: request.transpose()?,
            trial: None,
            held: None,
        })
    }

    fn image(&mut self, question: Question<'_>) -> Result<&[u64]> {
        let names = question.way().interfaces;
        let known = self.image.take().filter(|(known, _)| *known == names);
        let image = if let Some(image) = known {
            image
        } else {
            let interfaces = names.iter().map(|name| (Arc::clone(name), INTERFACE));
            let placement = Placement {
                number: 0,
                hash: Hash::default(),
                slot: 0,
                engine: Engine::default(),
                cpus: 1,
                interfaces: interfaces.collect(),
            };
            (names, write(self.generation, &placement)?)
        };
        Ok(&self.image.insert(image).1)
    }
}

/// The entry that a rule was made of; defaults and statements have none.
fn entry<'a>(
    policy: &'a Policy,
    generation: &Generation,
    host: u16,
    rule: u32,
) -> Option<&'a Entry> {
    if host == NONE_U16 || generation.rule(rule)?.list == List::Default {
        return None;
    }
    let first = generation.hosts.get(usize::from(host))?.first_rule;
    let ordinal = usize::try_from(rule.checked_sub(first)?).ok()?;
    let host = policy.hosts.get(usize::from(host))?;
    policy
        .always_allow
        .iter()
        .chain(&host.trusted_proxies)
        .chain(&host.deny)
        .chain(&host.audit)
        .chain(&host.allow)
        .nth(ordinal)
}

/// What an entry stands for.
fn prefixes<'a>(policy: &'a Policy, entry: &'a Entry) -> Option<&'a PrefixList> {
    match &entry.source {
        Source::Prefixes(prefixes) => Some(prefixes),
        Source::Set(set) => policy.sets.get(*set).map(|set| &set.prefixes),
        Source::Vpc(vpc) => policy.vpcs.get(*vpc).map(|vpc| &vpc.cidrs),
    }
}

/// The line of the entry's set file that has this prefix, if it stands in a file.
///
/// The file is read again: to keep the line of each of a million prefixes in memory, for this question, is too much.
fn set_line(policy: &Policy, entry: &Entry, address: IpAddr, prefix: IpNetwork) -> Option<Origin> {
    let Source::Set(set) = entry.source else {
        return None;
    };
    let set = policy.sets.get(set)?;
    let directory = Path::new(&*set.origin.file).parent()?;
    let path = directory.join(&**set.file.as_ref()?);
    let (line, found) = line_of(&read_limited(&path, limits::SET_FILE).ok()?, address)?;
    (found == prefix).then(|| Origin {
        file: path.to_string_lossy().into(),
        line,
        column: 1,
    })
}

const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const HOP_LIMIT: u8 = 64;
/// A port that the system may give to a client (RFC 6335, section 6).
const CLIENT_PORT: u16 = 49_152;

/// The frame of a TCP SYN. Checksums are left zero: the gate does not look at them.
pub fn frame(question: Question<'_>) -> Result<Vec<u8>> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if let Some(vlan) = question.vlan {
        ensure!((1..=4094).contains(&vlan), "a VLAN id is 1 to 4094");
        frame.extend(ETHERTYPE_VLAN.to_be_bytes());
        frame.extend(vlan.to_be_bytes());
    }
    let syn = [
        &CLIENT_PORT.to_be_bytes()[..],
        &question.to.port().to_be_bytes(),
        &[0; 8],
        &[0x50, 0x02],
        &[0xff; 2],
        &[0; 4],
    ]
    .concat();
    match (question.from, question.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend(ETHERTYPE_IPV4.to_be_bytes());
            frame.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, HOP_LIMIT, TCP, 0, 0]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            frame.extend(ETHERTYPE_IPV6.to_be_bytes());
            frame.extend([0x60, 0, 0, 0, 0, 20, TCP, HOP_LIMIT]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
        _ => anyhow::bail!("--from and --to are of different families"),
    }
    frame.extend(syn);
    Ok(frame)
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0x0f])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// Bytes from hexadecimal digits.
pub fn from_hex(text: &str) -> Result<Vec<u8>> {
    ensure!(text.is_ascii(), "not hexadecimal digits");
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    ensure!(rest.is_empty(), "an odd number of digits");
    pairs
        .iter()
        .map(|pair| {
            let digit = |byte: u8| char::from(byte).to_digit(16).context("not a digit");
            Ok(u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?)?)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_goes_there_and_back() {
        let bytes = [0x00, 0x7f, 0xff];
        assert_eq!(to_hex(&bytes), "007fff");
        assert_eq!(from_hex("007fFF").expect("digits"), bytes);
        for wrong in ["0", "0g", "+1", "é1"] {
            assert!(from_hex(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_question_has_one_family() {
        let question = Question {
            from: "192.0.2.1".parse().expect("an address"),
            to: "[2001:db8::1]:443".parse().expect("an address"),
            interface: None,
            masters: &[],
            vlan: None,
            request: None,
        };
        assert!(frame(question).is_err());
    }
}
