//! Virtual cables between namespaces, and VLANs on them.

mod vlan;

use std::fmt;

use anyhow::Result;

use crate::{netns::Namespace, process::run};
pub use vlan::Vlan;

/// One end of a cable.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Where it is.
    pub namespace: &'a Namespace,
    /// How the interface is called there.
    pub name: &'a str,
    /// Its MAC address.
    pub mac: Mac,
    /// Its addresses with their prefix lengths, such as `10.0.0.1/24`.
    pub addresses: &'a [&'a str],
}

/// A MAC address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// A locally administered address that ends in `last`.
    #[must_use]
    pub const fn local(last: u8) -> Self {
        Self([0x02, 0, 0, 0, 0, last])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.map(|byte| format!("{byte:02x}"));
        f.write_str(&bytes.join(":"))
    }
}

/// Lays a cable between two namespaces; it goes away with either of them.
pub fn connect(one: End<'_>, other: End<'_>) -> Result<()> {
    one.namespace.ip(&format!(
        "link add name {} address {} type veth peer name {} address {} netns {}",
        one.name,
        one.mac,
        other.name,
        other.mac,
        other.namespace.name()
    ))?;
    for end in [one, other] {
        add_addresses(end.namespace, end.name, end.addresses)?;
        end.namespace.ip(&format!("link set {} up", end.name))?;
    }
    Ok(())
}

/// Tells both ends of a cable the MAC address of the other, for all its addresses.
pub fn introduce(one: End<'_>, other: End<'_>) -> Result<()> {
    for (here, there) in [(one, other), (other, one)] {
        for address in there.addresses {
            let address = address.split('/').next().unwrap_or(address);
            let mac = there.mac.to_string();
            here.namespace.add_neighbor(here.name, address, &mac)?;
        }
    }
    Ok(())
}

/// Turns an offload of an interface `on` or `off`, by its name for `ethtool -K`.
pub fn set_feature(
    namespace: &Namespace,
    interface: &str,
    feature: &str,
    state: &str,
) -> Result<()> {
    let mut command = namespace.command("ethtool");
    run(command.args(["-K", interface, feature, state])).map(drop)
}

fn add_addresses(namespace: &Namespace, interface: &str, addresses: &[&str]) -> Result<()> {
    for address in addresses {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        namespace.ip(&format!("address add {address} dev {interface} {nodad}"))?;
    }
    Ok(())
}
