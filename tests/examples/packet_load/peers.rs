//! What users would otherwise pick: filters of the same list, each in a world of its own.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use aya::maps::{MapData, PerCpuHashMap, PerCpuValues};
use aya::util::nr_cpus;
use fastrand::Rng;
use swf_filter_tests::process::run;
use swf_filter_tests::world::World;

use crate::gates;
use crate::lists::{List, v4};

/// Another filter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Peer {
    /// iptables' raw table with a set of networks.
    Ipset,
    /// nftables where packets have just come in.
    Netdev,
    /// nftables before connections are tracked.
    Raw,
    /// xdp-filter, which knows single addresses only.
    XdpFilter,
}

/// Addresses that xdp-filter has room for.
const XDP_FILTER_ROOM: usize = 10_000;
const XDP_FILTER_PINS: &str = "/sys/fs/bpf/xdp-filter";
/// Left empty by xdp-filter.
const XDP_PINS: &str = "/sys/fs/bpf/xdp";

impl Peer {
    pub(crate) const ALL: [Self; 4] = [Self::XdpFilter, Self::Netdev, Self::Raw, Self::Ipset];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ipset => "iptables raw, ipset hash:net",
            Self::Netdev => "nftables netdev ingress, set",
            Self::Raw => "nftables inet raw, set",
            Self::XdpFilter => "xdp-filter, addresses",
        }
    }

    /// Whether it can hold so many.
    pub(crate) fn holds(self, size: usize) -> bool {
        self != Self::XdpFilter || size <= XDP_FILTER_ROOM
    }

    /// Whether it needs socket buffers, and so the interface's receive offload to get live frames.
    pub(crate) fn needs_buffers(self) -> bool {
        self != Self::XdpFilter
    }

    /// Sets up an empty filter that drops what is sent to the host.
    pub(crate) fn prepare(self, world: &World) -> Result<()> {
        let host = gates::v4(0);
        match self {
            Self::Ipset => {
                run(world
                    .host
                    .command("ipset")
                    .args(["create", "allowed", "hash:net"]))?;
                let rule = format!(
                    "-t raw -A PREROUTING -d {host} -m set ! --match-set allowed src -j DROP"
                );
                run(world.host.command("iptables").args(rule.split(' '))).map(drop)
            }
            Self::Netdev | Self::Raw => {
                let (table, hook) = self.table();
                let text = format!(
                    "table {table} {{\n set allowed {{ type ipv4_addr; flags interval; auto-merge; }}\n\
                     chain in {{ type filter hook {hook}; policy accept;\n\
                     ip daddr {host} ip saddr != @allowed drop\n }}\n}}\n"
                );
                let path = world.file("prepare.nft");
                fs::write(&path, text)?;
                run(world.host.command("nft").arg("-f").arg(path)).map(drop)
            }
            Self::XdpFilter => {
                let words = ["load", "eth1", "-p", "deny", "-f", "ipv4"];
                run(world.host.command("xdp-filter").args(words)).map(drop)
            }
        }
    }

    fn table(self) -> (&'static str, &'static str) {
        match self {
            Self::Netdev => ("netdev bench", "ingress device \"eth1\" priority 0"),
            _ => ("inet bench", "prerouting priority raw"),
        }
    }

    /// Lets in a list instead of the one before.
    pub(crate) fn enforce(self, world: &World, list: &List) -> Result<()> {
        match self.write(world, list)? {
            Some((program, arguments)) => {
                run(world.host.command(program).args(arguments)).map(drop)
            }
            None => fill(list),
        }
    }

    /// Writes a list as this filter wants it, and gives the command that reads it; none if there is none.
    pub(crate) fn write(
        self,
        world: &World,
        list: &List,
    ) -> Result<Option<(&'static str, Vec<PathBuf>)>> {
        let path = world.file("list");
        let command = match self {
            Self::Ipset => {
                let size = list.len().max(1024);
                let mut text = format!("create next hash:net maxelem {size}\n");
                for prefix in list.texts() {
                    writeln!(text, "add next {prefix}")?;
                }
                text.push_str("swap next allowed\ndestroy next\n");
                fs::write(&path, text)?;
                ("ipset", vec!["-file".into(), path, "restore".into()])
            }
            Self::Netdev | Self::Raw => {
                let (table, _) = self.table();
                let elements: Vec<String> = list.texts().collect();
                let elements = elements.join(",\n");
                let text = format!(
                    "flush set {table} allowed\nadd element {table} allowed {{\n{elements}\n}}\n"
                );
                fs::write(&path, text)?;
                ("nft", vec!["-f".into(), path])
            }
            Self::XdpFilter => return Ok(None),
        };
        Ok(Some(command))
    }
}

/// Gives xdp-filter one address of each prefix, past its command line, which takes one at a time.
fn fill(list: &List) -> Result<()> {
    /// `MAP_FLAG_SRC` of xdp-filter.
    const SOURCE: u64 = 1;
    let map = MapData::from_pin(Path::new(XDP_FILTER_PINS).join("filter_ipv4"))?;
    let mut map: PerCpuHashMap<MapData, [u8; 4], u64> =
        aya::maps::Map::PerCpuHashMap(map).try_into()?;
    let known: Vec<[u8; 4]> = map.keys().collect::<Result<_, _>>()?;
    for key in known {
        map.remove(&key)?;
    }
    let cpus = nr_cpus().map_err(|(_, error)| error)?;
    for address in addresses(list) {
        map.insert(
            v4(address).octets(),
            PerCpuValues::try_from(vec![SOURCE; cpus])?,
            0,
        )?;
    }
    Ok(())
}

/// The addresses that xdp-filter lets in for a list.
pub(crate) fn addresses(list: &List) -> Vec<u128> {
    let mut rng = Rng::with_seed(3);
    (0..list.len()).map(|_| list.inside(&mut rng)).collect()
}

/// Removes what xdp-filter has pinned, also after a failure; its program goes away with the interface.
pub(crate) struct Sweep;

impl Drop for Sweep {
    fn drop(&mut self) {
        let _may_be_gone = fs::remove_dir_all(XDP_FILTER_PINS);
        // Only if nobody else has something there.
        let _may_be_in_use = fs::remove_dir(XDP_PINS);
    }
}
