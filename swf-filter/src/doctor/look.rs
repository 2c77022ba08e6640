//! Looks at a machine. What cannot be seen is said, and keeps nothing else from being seen.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use aya::programs::ProgramInfo;
use hyper::Method;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::ethtool::Ethtool;
use super::facts::{Asked, Facts, Interface, Interfaces, Policy, Read, Seen, Settings};
use super::{front, machine};
use crate::config::Config;
use crate::control::api::{DiffReport, InterfaceInfo, Status};
use crate::control::client::{self, AskError};
use crate::control::socket;
use crate::dataplane::{Interface as Device, Pins, PlaceError, interfaces};
use crate::files;
use crate::report::Rejected;

/// Characters that make a name a glob.
const GLOB: [char; 3] = ['*', '?', '['];
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks at everything.
pub(super) async fn look(config: &Path, listener: &Path) -> Facts {
    let mut facts = Facts {
        now: Timestamp::now(),
        machine: machine::machine(),
        config: Read::Wrong(Vec::new()),
        policy: None,
        interfaces: None,
        daemon: None,
        difference: None,
        directories: Vec::new(),
        listener: None,
        units: machine::units(),
    };
    facts.config = match read(Config::load(config)) {
        Read::Right(config) => {
            gate(&mut facts, &config).await;
            Read::Right(settings(&config))
        }
        Read::Unseen(why) => Read::Unseen(why),
        Read::Wrong(lines) => Read::Wrong(lines),
    };
    facts.listener = match listener.try_exists() {
        Ok(false) => None,
        Ok(true) => Some(front::listener(listener, &mut facts.directories).await),
        Err(error) => Some(Read::Unseen(error.to_string())),
    };
    facts
}

/// Asks over a socket for what is known there.
pub(super) async fn ask<T: DeserializeOwned>(socket: &Path, path: &str) -> Asked<T> {
    let asked = timeout(PATIENCE, client::ask(socket, Method::GET, path, &())).await;
    let answer = match asked {
        Ok(answer) => answer.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?)),
        Err(_) => return Asked::Nobody(format!("not within {} s", PATIENCE.as_secs())),
    };
    match answer {
        Ok(answer) => Asked::Answered(Box::new(answer)),
        Err(error @ AskError::Denied { .. }) => Asked::Unseen(error.to_string()),
        Err(AskError::NoDaemon { path, error }) => {
            Asked::Nobody(format!("{}: {error}", path.display()))
        }
        Err(error) => Asked::Nobody(error.to_string()),
    }
}

/// Files as they were read.
pub(super) fn read<T>(read: Result<T, Rejected>) -> Read<T> {
    match read {
        Ok(value) => Read::Right(value),
        Err(Rejected::Problems(report)) => Read::Wrong(report.lines().collect()),
        Err(error) => match &error {
            Rejected::Unreadable { error: cause, .. } if is_denied(cause) => {
                Read::Unseen(error.to_string())
            }
            _ => Read::Wrong(vec![error.to_string()]),
        },
    }
}

/// Whether it is this user who may not look.
pub(super) fn is_denied(error: &io::Error) -> bool {
    error.kind() == ErrorKind::PermissionDenied
}

fn settings(config: &Config) -> Settings {
    let pins = Pins::new(&config.paths.bpf);
    Settings {
        pins: config.paths.bpf.clone(),
        bpf: pins.are_in_bpf().map_err(|error| format!("{error:#}")),
        open: match pins.ensure_own() {
            Ok(()) => Ok(None),
            Err(error @ PlaceError::Hidden(..)) => Err(format!("{:#}", anyhow::Error::from(error))),
            Err(error) => Ok(Some(error.to_string())),
        },
        mode: config.xdp_mode,
    }
}

/// Looks at what config.toml names.
async fn gate(facts: &mut Facts, config: &Config) {
    let control = socket(&config.paths.run);
    let daemon: Asked<Status> = ask(&control, "/v1/status").await;
    let policy = read(policy(config));
    if let (Asked::Answered(status), Read::Right(policy)) = (&daemon, &policy)
        && status.policy.as_ref() != Some(&policy.hash)
    {
        facts.difference = Some(match ask::<DiffReport>(&control, "/v1/diff").await {
            Asked::Answered(report) => Ok(report.difference.hosts.len()),
            Asked::Nobody(why) | Asked::Unseen(why) => Err(why),
        });
    }
    let told = match &daemon {
        Asked::Answered(status) => Some(status.interfaces.as_slice()),
        _ => None,
    };
    facts.interfaces = Some(
        interfaces(config, told)
            .await
            .map_err(|error| format!("{error:#}")),
    );
    let state = machine::directory("the daemon's state", &config.paths.state);
    facts.directories.push(state);
    facts.policy = Some(policy);
    facts.daemon = Some(daemon);
}

fn policy(config: &Config) -> Result<Policy, Rejected> {
    let loaded = files::load(&config.paths.policy, &config.always_allow)?;
    let generation = loaded.compile()?;
    Ok(Policy {
        doubts: loaded.doubts.problems.len() + loaded.doubts.more,
        hash: loaded.sources.hash(),
        vlans: generation
            .ingresses
            .iter()
            .any(|ingress| ingress.vlan.is_some()),
    })
}

async fn interfaces(config: &Config, told: Option<&[InterfaceInfo]>) -> Result<Interfaces> {
    let (netlink, _) = interfaces::open()?;
    let devices = netlink.list().await?;
    let ethtool = Ethtool::open();
    let pinned = pinned(&Pins::new(&config.paths.bpf));
    let named = devices.iter().filter(|device| config.names(&device.name));
    let present = named
        .map(|device| interface(device, told, &ethtool, &pinned))
        .collect();
    let unmatched = config.interfaces.iter().filter(|pattern| {
        let mut devices = devices.iter();
        !devices.any(|device| pattern.matches(&device.name))
    });
    let unmatched = unmatched.map(|pattern| pattern.as_str().to_owned());
    let (unmatched, absent) = unmatched.partition(|pattern: &String| pattern.contains(GLOB));
    Ok(Interfaces {
        present,
        absent,
        unmatched,
    })
}

/// The number of the program that swf-filter has pinned; none if it has none.
fn pinned(pins: &Pins) -> Seen<Option<u32>> {
    let path = pins.program();
    match path.try_exists() {
        Ok(false) => return Ok(None),
        Err(error) => return Err(error.to_string()),
        Ok(true) => {}
    }
    let info = ProgramInfo::from_pin(&path);
    info.map(|info| Some(info.id()))
        .map_err(|error| format!("{:#}", anyhow::Error::from(error)))
}

/// `told` is what the daemon says of interfaces, if one answers.
fn interface(
    device: &Device,
    told: Option<&[InterfaceInfo]>,
    ethtool: &io::Result<Ethtool>,
    pinned: &Seen<Option<u32>>,
) -> Interface {
    let info = told.and_then(|told| told.iter().find(|info| *info.name == *device.name));
    let ours = match (told, device.xdp, pinned) {
        (Some(_), _, _) => Ok(info.is_some_and(|info| info.mode.is_some())),
        (None, None, _) => Ok(false),
        (None, Some(program), Ok(pinned)) => Ok(Some(program.id) == *pinned),
        (None, Some(_), Err(why)) => Err(why.clone()),
    };
    let index = device.index;
    let ethtool = ethtool.as_ref().map_err(ToString::to_string);
    let text = |error: io::Error| error.to_string();
    Interface {
        name: device.name.to_string(),
        mtu: device.mtu,
        driver: driver(device),
        program: device.xdp,
        ours,
        told: info.cloned(),
        native: ethtool
            .clone()
            .and_then(|ethtool| ethtool.runs_xdp(index).map_err(text)),
        offloads: ethtool
            .clone()
            .and_then(|ethtool| ethtool.offloads(index).map_err(text)),
        channels: ethtool
            .and_then(|ethtool| ethtool.channels(index).map_err(text))
            .ok(),
    }
}

/// The driver's name. What `/sys` shows may be another namespace's interface of the same name, which has another number.
fn driver(device: &Device) -> Option<String> {
    let folder = Path::new("/sys/class/net").join(&*device.name);
    let number = std::fs::read_to_string(folder.join("ifindex")).ok()?;
    if number.trim().parse() != Ok(device.index) {
        return None;
    }
    let driver = std::fs::read_link(folder.join("device/driver")).ok()?;
    Some(driver.file_name()?.to_string_lossy().into_owned())
}
