//! By which way connections come in, as the packet gate tells zones apart: by interface and VLAN.
//!
//! A socket that is bound to a device has connections of that device only, so its device tells. Asking each connection was
//! rejected: the kernel knows the interface (`IP_PKTOPTIONS`), but no safe interface to it exists, and of a bond or bridge it would
//! not be the member either.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use socket2::SockRef;
use swf_filter_core::admission::Way;
use tokio::net::TcpListener;

/// The way of what a socket accepts. It has no interfaces if the socket is bound to none.
pub(super) fn of(socket: &TcpListener) -> io::Result<Way> {
    let device = SockRef::from(socket).device()?;
    let device = device.map(|name| String::from_utf8_lossy(&name).into_owned());
    let device = device.as_deref().map(|name| name.trim_end_matches('\0'));
    Ok(device.map_or_else(unknown, |device| {
        way(
            device,
            Path::new("/sys/class/net"),
            Path::new("/proc/net/vlan"),
        )
    }))
}

/// The way of which nothing is known.
pub(super) fn unknown() -> Way {
    Way {
        interfaces: Vec::new(),
        vlan: None,
    }
}

/// Packets of a VLAN device are judged where they still have their tag: on the device below it.
fn way(device: &str, devices: &Path, vlans: &Path) -> Way {
    let described = fs::read_to_string(vlans.join(device)).unwrap_or_default();
    let (below, vlan) = below(&described);
    let mut interfaces: Vec<Arc<str>> = Vec::new();
    for name in below.into_iter().chain([device]) {
        interfaces.push(name.into());
        let master = fs::read_link(devices.join(name).join("master"));
        let master = master
            .ok()
            .and_then(|path| Some(path.file_name()?.to_owned()));
        interfaces.extend(master.and_then(|name| Some(name.to_str()?.into())));
    }
    Way { interfaces, vlan }
}

/// The device that a VLAN is on, and its id, from `/proc/net/vlan/NAME` (`vlandev_seq_show` in net/8021q/vlanproc.c).
fn below(described: &str) -> (Option<&str>, Option<u16>) {
    let mut words = described.split_whitespace();
    let vlan = words
        .find(|word| *word == "VID:")
        .and_then(|_| words.next());
    let device = words
        .find(|word| *word == "Device:")
        .and_then(|_| words.next());
    (device, vlan.and_then(|id| id.parse().ok()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const DESCRIBED: &str = "eth1.120  VID: 120\t REORDER_HDR: 1  dev->priv_flags: 1021\n\
        \t total frames received            0\nDevice: eth1\nINGRESS priority mappings: 0:0  1:0\n";

    #[test]
    fn a_vlan_device_is_its_tag_on_the_device_below() {
        let folder = tempfile::tempdir().unwrap();
        let (devices, vlans) = (folder.path().join("net"), folder.path().join("vlan"));
        fs::create_dir_all(devices.join("eth1")).unwrap();
        fs::create_dir_all(&vlans).unwrap();
        symlink("../bond0", devices.join("eth1/master")).unwrap();
        fs::write(vlans.join("eth1.120"), DESCRIBED).unwrap();
        let names = |way: &Way| way.interfaces.join(" ");

        let tagged = way("eth1.120", &devices, &vlans);
        assert_eq!(
            (&*names(&tagged), tagged.vlan),
            ("eth1 bond0 eth1.120", Some(120))
        );
        let plain = way("eth1", &devices, &vlans);
        assert_eq!((&*names(&plain), plain.vlan), ("eth1 bond0", None));
        let other = way("eth2", &devices, &vlans);
        assert_eq!((&*names(&other), other.vlan), ("eth2", None));
    }

    #[tokio::test]
    async fn a_socket_without_device_tells_no_way() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert_eq!(of(&socket).unwrap(), unknown());
    }
}
