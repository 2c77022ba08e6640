//! The interfaces as an operator wants to see them: those that are meant to be filtered, and those that are.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Config, XdpMode};
use crate::control::api::{AttachMode, InterfaceInfo};
use crate::dataplane::Interface;

/// Characters that make a name a glob.
const GLOB: [char; 3] = ['*', '?', '['];

/// Lists what config.toml names, be it there or not, and what is attached without being named.
pub(super) fn list(
    config: &Config,
    known: &[Interface],
    notes: &BTreeMap<Arc<str>, String>,
    is_attached: impl Fn(&Interface) -> bool,
) -> Vec<InterfaceInfo> {
    let present = known.iter().filter_map(|interface| {
        let attached = interface.xdp.filter(|_| is_attached(interface));
        let mode = attached.map(|program| program.mode);
        let is_named = config.names(&interface.name);
        let note = if is_named {
            let note = notes.get(&interface.name).cloned();
            note.or_else(|| other_mode(config.xdp_mode, mode))
        } else {
            Some(no_longer_named(&interface.name))
        };
        (is_named || mode.is_some()).then(|| InterfaceInfo {
            name: interface.name.to_string(),
            index: Some(interface.index),
            mode,
            note,
        })
    });
    let absent = config.interfaces.iter().filter_map(|pattern| {
        let name = pattern.as_str();
        let is_known = known.iter().any(|interface| *interface.name == *name);
        (!name.contains(GLOB) && !is_known).then(|| InterfaceInfo {
            name: name.to_owned(),
            index: None,
            mode: None,
            note: Some("there is no such interface; it will be filtered when it comes".to_owned()),
        })
    });
    present.chain(absent).collect()
}

fn no_longer_named(name: &str) -> String {
    format!(
        "config.toml does not name it any more; `swf-filter detach {name}` takes the filter off"
    )
}

/// A reload leaves attached programs alone, so config.toml may want another mode by now.
fn other_mode(wanted: XdpMode, mode: Option<AttachMode>) -> Option<String> {
    let words = match (wanted, mode?) {
        (XdpMode::Driver, AttachMode::Generic) => "driver",
        (XdpMode::Generic, AttachMode::Driver) => "generic",
        _ => return None,
    };
    Some(format!(
        "config.toml wants {words} mode, which takes effect after detaching and attaching"
    ))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::config::{EngineChoice, OnBootFailure, Paths};
    use crate::dataplane::interfaces::Program;

    use super::*;

    fn config(interfaces: &[&str], xdp_mode: XdpMode) -> Config {
        Config {
            path: PathBuf::new(),
            interfaces: interfaces
                .iter()
                .map(|text| glob::Pattern::new(text).expect(text))
                .collect(),
            xdp_mode,
            engine: EngineChoice::default(),
            always_allow: Vec::new(),
            on_boot_failure: OnBootFailure::Refuse,
            events_per_second: 0,
            history: 1,
            trace: false,
            observe: None,
            paths: Paths::default(),
        }
    }

    fn interface(index: u32, name: &str, mode: Option<AttachMode>) -> Interface {
        Interface {
            index,
            name: name.into(),
            master: None,
            lower: None,
            mtu: 1500,
            xdp: mode.map(|mode| Program { id: 7, mode }),
        }
    }

    #[test]
    fn what_is_named_or_attached_is_listed_with_what_is_odd_about_it() {
        let config = config(&["eth*", "wan0", "eth1", "nic[0-9]"], XdpMode::Driver);
        let known = [
            interface(1, "lo", None),
            interface(2, "eth1", Some(AttachMode::Driver)),
            interface(3, "eth2", None),
            interface(4, "eth3", Some(AttachMode::Generic)),
            interface(5, "old0", Some(AttachMode::Driver)),
            interface(6, "foreign0", Some(AttachMode::Driver)),
        ];
        let notes = BTreeMap::from([("eth2".into(), "no reason".to_owned())]);
        let listed = list(&config, &known, &notes, |interface| interface.index < 6);
        let listed: Vec<_> = listed
            .iter()
            .map(|info| (&*info.name, info.index, info.mode, info.note.as_deref()))
            .collect();
        assert_eq!(
            listed,
            [
                ("eth1", Some(2), Some(AttachMode::Driver), None),
                ("eth2", Some(3), None, Some("no reason")),
                (
                    "eth3",
                    Some(4),
                    Some(AttachMode::Generic),
                    Some(
                        "config.toml wants driver mode, which takes effect after detaching and attaching"
                    )
                ),
                (
                    "old0",
                    Some(5),
                    Some(AttachMode::Driver),
                    Some(
                        "config.toml does not name it any more; `swf-filter detach old0` takes the filter off"
                    )
                ),
                (
                    "wan0",
                    None,
                    None,
                    Some("there is no such interface; it will be filtered when it comes")
                ),
            ]
        );
    }
}
