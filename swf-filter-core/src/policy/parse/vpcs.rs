//! `[[vpc]]` blocks.

use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;

use super::super::fault::Block;
use super::super::{Fault, Problems, Vpc};
use super::document::{Document, Table, Text, integer};
use super::entries::prefix_list;
use super::names::Names;

/// The VPCs of all files, and their ids.
pub(super) fn read<'a>(
    documents: &'a [Document<'a>],
    problems: &mut Problems,
) -> (Vec<Vpc>, Names<'a>) {
    let mut vpcs = Vec::new();
    let mut names = Names::new(Block::Vpc);
    for document in documents {
        for table in document.blocks(Block::Vpc, problems) {
            table.check_fields(problems);
            let id = table.name(problems);
            let vpc = read_vpc(&table, id.as_ref(), problems);
            if id.is_some_and(|id| names.define(&id, &table, problems)) {
                vpcs.push(vpc);
            }
        }
    }
    (vpcs, names)
}

fn read_vpc(table: &Table<'_>, id: Option<&Text<'_>>, problems: &mut Problems) -> Vpc {
    table.require_items("cidrs", problems);
    Vpc {
        id: id.map_or("", |id| id.value).into(),
        origin: table.place().origin,
        cidrs: prefix_list(table, "cidrs", problems),
        interfaces: interfaces(table, problems),
        vlans: vlans(table, problems),
        endpoints: endpoints(table, problems),
    }
}

fn interfaces(table: &Table<'_>, problems: &mut Problems) -> Vec<Arc<str>> {
    let mut interfaces: Vec<Arc<str>> = Vec::new();
    for text in table.texts("interfaces", problems) {
        if is_interface(text.value) {
            interfaces.push(text.value.into());
        } else {
            table.report(
                Fault::InterfaceName {
                    name: text.value.into(),
                },
                text.span,
                problems,
            );
        }
    }
    sorted(interfaces)
}

/// Whether the kernel would take this name (`dev_valid_name` in net/core/dev.c), and it is not meant as a glob.
fn is_interface(name: &str) -> bool {
    let refused =
        |byte: u8| byte.is_ascii_whitespace() || byte == b'\x0b' || b"/:*?[]\0".contains(&byte);
    (1..IFNAMSIZ).contains(&name.len()) && name != "." && name != ".." && !name.bytes().any(refused)
}

fn vlans(table: &Table<'_>, problems: &mut Problems) -> Vec<u16> {
    let items = table.list("vlans", problems).iter();
    sorted(
        items
            .filter_map(|item| vlan(table, item, problems))
            .collect(),
    )
}

/// A VLAN id other than 0, a priority tag, and 4095, which is reserved (IEEE 802.1Q, table 9-2).
fn vlan(table: &Table<'_>, item: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<u16> {
    if !item.get_ref().is_integer() {
        table.wrong_type("vlans", "numbers", item, problems);
        return None;
    }
    let id = integer(item.get_ref())
        .and_then(|id| u16::try_from(id).ok())
        .filter(|id| (1..=4094).contains(id));
    if id.is_none() {
        table.report(
            Fault::Vlan {
                found: table.written(item).into(),
            },
            item.span(),
            problems,
        );
    }
    id
}

fn endpoints(table: &Table<'_>, problems: &mut Problems) -> Vec<Arc<str>> {
    let texts = table.texts("endpoints", problems).into_iter();
    texts
        .filter(|text| table.check_name("VPC endpoint id", text, problems))
        .map(|text| text.value.into())
        .collect()
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort_unstable();
    list.dedup();
    list
}

/// Bytes of an interface name with its final zero (include/uapi/linux/if.h).
const IFNAMSIZ: usize = 16;
