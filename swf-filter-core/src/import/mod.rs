//! Policies that come from elsewhere: what AWS publishes, what its command line prints, and plain lists, as sets and VPCs.
//!
//! The forms are those of AWS's documentation: "AWS IP address ranges" of the Amazon VPC user guide for `ip-ranges.json`, and the EC2
//! API reference (`DescribeVpcs`, `DescribeVpcEndpoints`, `DescribeManagedPrefixLists`, `GetManagedPrefixListEntries`). Members that
//! are not needed are passed over, those that are have to be there. An answer that is only a page of several is refused, and so is a
//! list that comes out empty: either would close or open a host by what is missing.

mod fault;
mod render;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::str;

use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use self::fault::Fault;
pub use self::render::{Input, MARK, Set, Tie, VpcFile};
use crate::policy::fault::nearest;
use crate::policy::limits::{Limit, PREFIXES};
use crate::policy::parse::is_name;
use crate::prefix::{PrefixList, aggregate, text};

/// A list of sources, and what the input says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// The fewest prefixes that cover exactly what was read, ascending.
    pub prefixes: PrefixList,
    /// How many were read.
    pub read: usize,
    /// A name that the input gives to the list.
    pub name: Option<String>,
    /// What the input says of its own version, in words.
    pub about: Vec<String>,
}

/// Which ranges of `ip-ranges.json` are wanted; of an empty list, all are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// Services, such as `EC2`.
    pub services: &'a [String],
    /// Regions, such as `us-east-1`.
    pub regions: &'a [String],
    /// Network border groups, such as `us-east-1`.
    pub groups: &'a [String],
}

/// How lines of a plain list are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lines {
    /// The first of the values that commas part.
    Csv,
    /// The same, and the first line only says what they are.
    CsvWithHeading,
    /// One address, prefix or range.
    #[default]
    Plain,
}

/// A VPC as AWS describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vpc {
    /// Its id.
    pub id: String,
    /// Its `Name` tag.
    pub name: Option<String>,
    /// Its ranges.
    pub cidrs: PrefixList,
    /// Its endpoints, by id, with what they are for.
    pub endpoints: BTreeMap<String, String>,
}

/// Reads `ip-ranges.json`.
pub fn ip_ranges(json: &[u8], wanted: Wanted<'_>) -> Result<Imported, Fault> {
    let file: IpRanges = read(json)?;
    let v4 = (file.prefixes.iter().zip(0..)).map(|(range, number)| {
        (
            &*range.ip_prefix,
            &range.labels,
            ("prefixes", number, "ip_prefix"),
        )
    });
    let v6 = (file.ipv6_prefixes.iter().zip(0..)).map(|(range, number)| {
        (
            &*range.ipv6_prefix,
            &range.labels,
            ("ipv6_prefixes", number, "ipv6_prefix"),
        )
    });
    let ranges: Vec<(_, _, (_, usize, _))> = v4.chain(v6).collect();
    for (what, names, of) in wanted.kinds() {
        for name in names {
            let known: BTreeSet<&str> = ranges.iter().map(|(_, labels, _)| of(labels)).collect();
            if !known.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                return Err(Fault::Unknown {
                    what,
                    name: name.clone(),
                    nearest: nearest(&name.to_uppercase(), known.iter().copied())
                        .or_else(|| nearest(name, known))
                        .map(str::to_owned),
                });
            }
        }
    }
    let mut list = List::default();
    for (text, labels, (field, number, member)) in ranges {
        if wanted.has(labels) {
            list.add(text, || format!("{field}[{number}].{member}"))?;
        }
    }
    let mut imported = list.done("no range has all that is asked for")?;
    imported.about = vec![
        format!("syncToken {}", file.sync_token),
        format!("createDate {}", file.create_date),
    ];
    Ok(imported)
}

/// Reads what `aws ec2 get-managed-prefix-list-entries` prints.
///
/// That does not say which list it is. `lists` may hold what `describe-managed-prefix-lists` prints; from it come the name and
/// version of the list `id`, or of the only one.
pub fn prefix_list(
    entries: &[u8],
    lists: Option<&[u8]>,
    id: Option<&str>,
) -> Result<Imported, Fault> {
    let file: Entries = read(entries)?;
    whole(file.next_token.as_ref())?;
    let mut list = List::default();
    for (entry, number) in file.entries.iter().zip(0..) {
        list.add(&entry.cidr, || format!("Entries[{number}].Cidr"))?;
    }
    let mut imported = list.done("the list has no entries")?;
    if let Some(lists) = lists {
        let lists: PrefixLists = read(lists)?;
        whole(lists.next_token.as_ref())?;
        let described = described(&lists.prefix_lists, id)?;
        imported.name = Some(described.prefix_list_name.clone());
        imported.about = vec![format!(
            "{}, version {}",
            described.prefix_list_id,
            described
                .version
                .map_or("unknown".to_owned(), |version| version.to_string())
        )];
    }
    Ok(imported)
}

/// Reads a list of one address, prefix or range a line; `#` starts a comment that runs to the end of the line.
pub fn plain(bytes: &[u8], lines: Lines) -> Result<Imported, Fault> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let mut list = List::default();
    for (bytes, line) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        if line == 1 && lines == Lines::CsvWithHeading {
            continue;
        }
        let whole = str::from_utf8(bytes).map_err(|_| Fault::NotUtf8 { line })?;
        let value = value_of(whole, lines);
        if value.is_empty() {
            continue;
        }
        let before = whole.split_once(value).map_or("", |(before, _)| before);
        let column = before.chars().count() + 1;
        list.line(value).map_err(|error| Fault::Line {
            line,
            column,
            error,
        })?;
        list.fits()?;
    }
    list.done("the list holds no address")
}

/// Reads what `aws ec2 describe-vpcs` prints, and in `endpoints` what `describe-vpc-endpoints` does; of them the VPCs `wanted`, or all.
pub fn vpcs(json: &[u8], endpoints: Option<&[u8]>, wanted: &[String]) -> Result<Vec<Vpc>, Fault> {
    let file: Vpcs = read(json)?;
    whole(file.next_token.as_ref())?;
    let ids = || file.vpcs.iter().map(|vpc| &*vpc.vpc_id);
    if let Some(name) = wanted.iter().find(|name| !ids().any(|id| id == **name)) {
        return Err(unknown("VPC", name, ids()));
    }
    let mut found = BTreeMap::new();
    for (described, number) in file.vpcs.iter().zip(0..) {
        let id = &described.vpc_id;
        let path = || format!("Vpcs[{number}].VpcId");
        if !wanted.is_empty() && !wanted.contains(id) {
            continue;
        }
        checked(id, path)?;
        let vpc = described.read(number)?;
        if found.insert(id.clone(), vpc).is_some() {
            let id = id.clone();
            return Err(Fault::Twice { path: path(), id });
        }
    }
    if found.is_empty() {
        return Err(Fault::Nothing {
            what: "there is no VPC",
        });
    }
    if let Some(endpoints) = endpoints {
        let file: Endpoints = read(endpoints)?;
        whole(file.next_token.as_ref())?;
        for (endpoint, number) in file.vpc_endpoints.iter().zip(0..) {
            let Some(vpc) = found.get_mut(&endpoint.vpc_id) else {
                continue;
            };
            let id = &endpoint.vpc_endpoint_id;
            checked(id, || format!("VpcEndpoints[{number}].VpcEndpointId"))?;
            if endpoint.is_there() {
                vpc.endpoints
                    .insert(id.clone(), endpoint.service_name.clone());
            }
        }
    }
    Ok(found.into_values().collect())
}

/// Prefixes as they come in.
#[derive(Default)]
struct List {
    prefixes: PrefixList,
    read: usize,
}

impl List {
    fn line(&mut self, text: &str) -> Result<(), text::TextError> {
        self.read += 1;
        text::parse(text, &mut self.prefixes)
    }

    fn add(&mut self, text: &str, path: impl FnOnce() -> String) -> Result<(), Fault> {
        self.line(text).map_err(|error| Fault::Address {
            path: path(),
            error,
        })?;
        self.fits()
    }

    fn fits(&self) -> Result<(), Fault> {
        if self.prefixes.v4.len().max(self.prefixes.v6.len()) > PREFIXES {
            let limit = Limit::Prefixes;
            return Err(Fault::TooMany { limit });
        }
        Ok(())
    }

    /// The fewest prefixes. If there are none: `what`.
    fn done(mut self, what: &'static str) -> Result<Imported, Fault> {
        if self.prefixes.is_empty() {
            return Err(Fault::Nothing { what });
        }
        aggregate(&mut self.prefixes.v4);
        aggregate(&mut self.prefixes.v6);
        Ok(Imported {
            prefixes: self.prefixes,
            read: self.read,
            ..Imported::default()
        })
    }
}

/// What is asked for of a kind of label, and where ranges have it.
type Kind<'a> = (&'static str, &'a [String], fn(&Labels) -> &str);

impl<'a> Wanted<'a> {
    fn kinds(self) -> [Kind<'a>; 3] {
        [
            ("service", self.services, |labels| &labels.service),
            ("region", self.regions, |labels| &labels.region),
            ("network border group", self.groups, |labels| {
                &labels.network_border_group
            }),
        ]
    }

    fn has(self, labels: &Labels) -> bool {
        self.kinds().into_iter().all(|(_, names, of)| {
            names.is_empty()
                || names
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case(of(labels)))
        })
    }
}

fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(json).map_err(|error| Fault::json(&error))
}

/// Refuses one page of several.
fn whole(next_token: Option<&String>) -> Result<(), Fault> {
    next_token.map_or(Ok(()), |_| Err(Fault::Part))
}

fn checked(name: &str, path: impl FnOnce() -> String) -> Result<(), Fault> {
    if is_name(name) {
        return Ok(());
    }
    Err(Fault::Name {
        path: path(),
        name: name.to_owned(),
    })
}

fn unknown<'a>(what: &'static str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Fault {
    Fault::Unknown {
        what,
        name: name.to_owned(),
        nearest: nearest(name, known).map(str::to_owned),
    }
}

/// The list with an id, or the only one.
fn described<'a>(lists: &'a [DescribedList], id: Option<&str>) -> Result<&'a DescribedList, Fault> {
    match (id, lists) {
        (None, [only]) => Ok(only),
        (None, _) => Err(Fault::Nothing {
            what: "several prefix lists are described, and `--id` does not say which it is",
        }),
        (Some(id), lists) => lists
            .iter()
            .find(|list| list.prefix_list_id == id)
            .ok_or_else(|| {
                let known = lists.iter().map(|list| &*list.prefix_list_id);
                unknown("prefix list", id, known)
            }),
    }
}

/// The value that a line of a list has, without comments, blanks and quotes.
fn value_of(line: &str, lines: Lines) -> &str {
    let line = line.split_once('#').map_or(line, |(value, _)| value);
    let value = match lines {
        Lines::Plain => line,
        Lines::Csv | Lines::CsvWithHeading => line.split(',').next().unwrap_or_default(),
    };
    let value = value.trim_ascii();
    let quoted = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    match lines {
        Lines::Plain => value,
        Lines::Csv | Lines::CsvWithHeading => quoted.unwrap_or(value),
    }
}

#[derive(Deserialize)]
struct IpRanges {
    #[serde(rename = "syncToken")]
    sync_token: String,
    #[serde(rename = "createDate")]
    create_date: String,
    prefixes: Vec<RangeV4>,
    ipv6_prefixes: Vec<RangeV6>,
}

#[derive(Deserialize)]
struct RangeV4 {
    ip_prefix: String,
    #[serde(flatten)]
    labels: Labels,
}

#[derive(Deserialize)]
struct RangeV6 {
    ipv6_prefix: String,
    #[serde(flatten)]
    labels: Labels,
}

#[derive(Deserialize)]
struct Labels {
    region: String,
    service: String,
    network_border_group: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entries {
    entries: Vec<ListEntry>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListEntry {
    cidr: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PrefixLists {
    prefix_lists: Vec<DescribedList>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribedList {
    prefix_list_id: String,
    prefix_list_name: String,
    version: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Vpcs {
    vpcs: Vec<DescribedVpc>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribedVpc {
    vpc_id: String,
    cidr_block: String,
    #[serde(default)]
    cidr_block_association_set: Vec<Association>,
    #[serde(default)]
    ipv6_cidr_block_association_set: Vec<AssociationV6>,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Association {
    cidr_block: String,
    cidr_block_state: AssociationState,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AssociationV6 {
    ipv6_cidr_block: String,
    ipv6_cidr_block_state: AssociationState,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AssociationState {
    state: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Endpoints {
    vpc_endpoints: Vec<DescribedEndpoint>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribedEndpoint {
    vpc_endpoint_id: String,
    vpc_id: String,
    service_name: String,
    state: String,
}

impl DescribedVpc {
    fn read(&self, number: usize) -> Result<Vpc, Fault> {
        let mut list = List::default();
        // The first block stands among the associations too, but for answers that leave these out.
        list.add(&self.cidr_block, || format!("Vpcs[{number}].CidrBlock"))?;
        for (block, place) in self.cidr_block_association_set.iter().zip(0..) {
            if block.cidr_block_state.is_used() {
                list.add(&block.cidr_block, || {
                    format!("Vpcs[{number}].CidrBlockAssociationSet[{place}].CidrBlock")
                })?;
            }
        }
        for (block, place) in self.ipv6_cidr_block_association_set.iter().zip(0..) {
            if block.ipv6_cidr_block_state.is_used() {
                list.add(&block.ipv6_cidr_block, || {
                    format!("Vpcs[{number}].Ipv6CidrBlockAssociationSet[{place}].Ipv6CidrBlock")
                })?;
            }
        }
        let name = self.tags.iter().find(|tag| tag.key == "Name");
        Ok(Vpc {
            id: self.vpc_id.clone(),
            name: name.map(|tag| tag.value.clone()),
            cidrs: list.done("the VPC has no range")?.prefixes,
            endpoints: BTreeMap::new(),
        })
    }
}

impl AssociationState {
    /// Whether the range is the VPC's, by EC2's `VpcCidrBlockState`.
    fn is_used(&self) -> bool {
        matches!(&*self.state, "associated" | "associating")
    }
}

impl DescribedEndpoint {
    /// Whether requests may come through it, now or soon, by EC2's `State` of a `VpcEndpoint`, of which the case varies.
    fn is_there(&self) -> bool {
        let gone = ["deleting", "deleted", "rejected", "failed", "expired"];
        !gone
            .iter()
            .any(|gone| self.state.eq_ignore_ascii_case(gone))
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
