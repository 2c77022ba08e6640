//! What must be there before anything is loaded, checked early so that the answer is a sentence and not an error number.

use std::fs;

use anyhow::{Context, Result, bail, ensure};

/// The oldest kernel that has everything: XDP with fragments and `bpf_xdp_load_bytes` came with 5.18.
pub(crate) const OLDEST_KERNEL: (u32, u32) = (5, 18);

/// An XDP frame must fit a page with its headroom on ENA: `ENA_XDP_MAX_MTU` in `drivers/net/ethernet/amazon/ena/ena_xdp.h`, with
/// pages of 4 KiB.
pub(crate) const ENA_MTU: u32 = 3498;

/// Capabilities, by name and number (`linux/capability.h`).
///
/// The second one is for `BPF_MAP_GET_FD_BY_ID`, which opens the maps of a slot: without it a daemon could filter, but not say what rules
/// have counted, nor take over from an earlier one. It has in it what `CAP_BPF` and `CAP_PERFMON` allow.
const CAPABILITIES: [(&str, u32); 2] = [("CAP_NET_ADMIN", 12), ("CAP_SYS_ADMIN", 21)];

/// Checks kernel and capabilities.
pub fn check() -> Result<()> {
    check_kernel()?;
    check_capabilities()
}

fn check_kernel() -> Result<()> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let Some(version) = version(&release) else {
        bail!("cannot read the kernel's version from `{release}`");
    };
    ensure!(
        version >= OLDEST_KERNEL,
        "kernel {release} is too old: swf-filter needs {}.{} or newer",
        OLDEST_KERNEL.0,
        OLDEST_KERNEL.1,
    );
    Ok(())
}

/// The two numbers that a kernel's release begins with.
pub(crate) fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The effective capabilities of this process.
pub(crate) fn effective() -> Result<u64> {
    let status =
        fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .context("cannot read the capabilities of this process")
}

/// Those that the daemon needs and that are not among `effective`.
pub(crate) fn missing(effective: u64) -> Vec<&'static str> {
    let has = |number: u32| effective >> number & 1 == 1;
    CAPABILITIES
        .into_iter()
        .filter(|(_, number)| !has(*number))
        .map(|(name, _)| name)
        .collect()
}

fn check_capabilities() -> Result<()> {
    let missing = missing(effective()?);
    ensure!(
        missing.is_empty(),
        "missing {}; run the daemon as root, or through its systemd unit, which grants them",
        missing.join(" and "),
    );
    Ok(())
}

/// Advice for an interface on which driver mode did not work, from what is known of its driver.
#[must_use]
pub fn driver_advice(interface: &str, mtu: u32) -> Option<String> {
    let driver = fs::read_link(format!("/sys/class/net/{interface}/device/driver")).ok()?;
    if driver.file_name()? != "ena" {
        return None;
    }
    let mtu_advice = if mtu > ENA_MTU {
        format!(
            "lower its MTU from {mtu} to at most {ENA_MTU} (`ip link set {interface} mtu {ENA_MTU}`), and "
        )
    } else {
        String::new()
    };
    Some(format!(
        "the ENA driver needs spare queues: {mtu_advice}use at most half of its channels (`ethtool -l {interface}`, \
         `ethtool -L {interface} combined N`)"
    ))
}
