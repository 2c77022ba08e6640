//! Each fault is found, and its twin, which is no fault, is not.

use std::collections::BTreeSet;

use super::*;
use crate::control::api::{
    EventInfo, GenerationInfo, InterfaceInfo, PolicyInfo, PutBack, ReloadInfo,
};
use crate::dataplane::interfaces::Program;
use crate::doctor::facts::{Channels, Loaded};
use crate::listener::status::UpstreamInfo;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn status() -> Status {
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: 1,
        uptime_seconds: 1,
        generation: GenerationInfo::default(),
        policy: Some("hash".to_owned()),
        interfaces: Vec::new(),
        reasons: Vec::new(),
        events: EventInfo::default(),
        reloads: ReloadInfo::default(),
        put_back: PutBack::default(),
        trial: None,
        held: None,
        warnings: Vec::new(),
    }
}

fn listener_status() -> ListenerStatus {
    ListenerStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: 2,
        uptime_seconds: 1,
        policy: Some(PolicyInfo::default()),
        listeners: Vec::new(),
        upstreams: vec![UpstreamInfo {
            name: "swf".to_owned(),
            address: "http://[::1]".to_owned(),
            healthy: true,
            last_error: None,
            requests: 0,
            failures: 0,
        }],
        requests: Vec::new(),
        actions: Vec::new(),
        files: Vec::new(),
        audit_lost: 0,
        warnings: Vec::new(),
    }
}

fn interface() -> Interface {
    Interface {
        name: "eth0".to_owned(),
        mtu: 1500,
        driver: Some("ena".to_owned()),
        program: Some(Program {
            id: 7,
            mode: AttachMode::Driver,
        }),
        ours: Ok(true),
        told: Some(InterfaceInfo {
            name: "eth0".to_owned(),
            index: Some(2),
            mode: Some(AttachMode::Driver),
            note: None,
        }),
        native: Ok(true),
        offloads: Ok(BTreeSet::new()),
        channels: Some(Channels {
            combined: 4,
            most: 8,
        }),
    }
}

fn room() -> Room {
    Room {
        writable: true,
        root: true,
        read_only: false,
        bytes: LITTLE_ROOM,
        files: Some(FEW_FILES),
    }
}

/// A machine that nothing is wrong with.
fn well() -> Facts {
    Facts {
        now: NOW,
        machine: Machine {
            release: "5.18.0-1-amd64".to_owned(),
            btf: true,
            capabilities: Ok(u64::MAX),
            locked: Some(8 << 20),
            unprivileged: Ok("2\n".to_owned()),
            jit: Ok("1\n".to_owned()),
            synchronised: Ok(true),
        },
        config: Read::Right(Settings {
            pins: "/sys/fs/bpf/swf-filter".into(),
            bpf: Ok(true),
            open: Ok(None),
            mode: XdpMode::Auto,
        }),
        policy: Some(Read::Right(Policy {
            doubts: 0,
            hash: "hash".to_owned(),
            vlans: true,
        })),
        interfaces: Some(Ok(Interfaces {
            present: vec![interface()],
            ..Interfaces::default()
        })),
        daemon: Some(Asked::Answered(Box::new(status()))),
        difference: None,
        directories: vec![Directory {
            what: "the daemon's state",
            path: "/var/lib/swf-filter".into(),
            room: Ok(room()),
        }],
        listener: Some(Read::Right(Listener {
            certificates: vec![Certificates {
                listener: "payments".to_owned(),
                loaded: Read::Right(Loaded {
                    ends: vec![("cert.pem".into(), NOW + SOON)],
                    doubts: Vec::new(),
                }),
            }],
            keys: Read::Right(()),
            doors: vec![Door {
                listener: "payments".to_owned(),
                socket: "127.0.0.1:443".to_owned(),
                knock: Knock::Opened,
            }],
            status: Asked::Answered(Box::new(listener_status())),
        })),
        units: Ok(vec![
            Unit {
                name: "swf-filter.service",
                installed: true,
                enabled: true,
            },
            Unit {
                name: "swf-filter-listener.service",
                installed: true,
                enabled: true,
            },
        ]),
    }
}

/// What is not `ok` after a change: check and grade.
fn after(change: impl FnOnce(&mut Facts)) -> Vec<(&'static str, Grade)> {
    let mut facts = well();
    change(&mut facts);
    let found = judge(&facts);
    for finding in &found {
        assert!(!finding.words.is_empty());
        let has_advice = finding
            .advice
            .as_ref()
            .is_some_and(|advice| !advice.is_empty());
        assert_eq!(has_advice, finding.grade != Grade::Ok, "{finding:?}");
    }
    let odd = found.into_iter().filter(|one| one.grade != Grade::Ok);
    odd.map(|one| (one.check, one.grade)).collect()
}

/// Fails unless a change makes one finding, and its twin none.
fn only(
    check: &'static str,
    grade: Grade,
    change: impl FnOnce(&mut Facts),
    twin: impl FnOnce(&mut Facts),
) {
    assert_eq!(after(change), [(check, grade)], "{check}");
    assert_eq!(after(twin), [], "the twin of {check}");
}

fn with_interface(change: impl FnOnce(&mut Interface)) -> impl FnOnce(&mut Facts) {
    |facts| {
        if let Some(Ok(interfaces)) = &mut facts.interfaces {
            change(&mut interfaces.present[0]);
        }
    }
}

fn with_listener(change: impl FnOnce(&mut Listener)) -> impl FnOnce(&mut Facts) {
    |facts| {
        if let Some(Read::Right(listener)) = &mut facts.listener {
            change(listener);
        }
    }
}

fn with_daemon(change: impl FnOnce(&mut Status)) -> impl FnOnce(&mut Facts) {
    |facts| {
        if let Some(Asked::Answered(status)) = &mut facts.daemon {
            change(status);
        }
    }
}

fn with_front(change: impl FnOnce(&mut ListenerStatus)) -> impl FnOnce(&mut Facts) {
    with_listener(|listener| {
        if let Asked::Answered(status) = &mut listener.status {
            change(status);
        }
    })
}

fn with_room(change: impl FnOnce(&mut Room)) -> impl FnOnce(&mut Facts) {
    |facts| {
        if let Ok(room) = &mut facts.directories[0].room {
            change(room);
        }
    }
}

fn ends_in(hours: i64, seconds: i64) -> impl FnOnce(&mut Facts) {
    let end = NOW + SignedDuration::from_hours(hours) + SignedDuration::from_secs(seconds);
    with_listener(move |listener| {
        listener.certificates[0].loaded = Read::Right(Loaded {
            ends: vec![("cert.pem".into(), end)],
            doubts: Vec::new(),
        });
    })
}

fn nothing(_: &mut Facts) {}

#[test]
fn a_machine_that_is_well_is_told_so() {
    assert_eq!(after(nothing), []);
}

#[test]
fn kernels_are_told_apart() {
    only(
        "kernel",
        Grade::Failure,
        |facts| facts.machine.release = "5.17.15".to_owned(),
        |facts| facts.machine.release = "6.1.0-18-cloud-amd64".to_owned(),
    );
    only(
        "kernel",
        Grade::Warning,
        |facts| facts.machine.release = "next".to_owned(),
        nothing,
    );
    only(
        "btf",
        Grade::Advice,
        |facts| facts.machine.btf = false,
        nothing,
    );
    let old = |locked| {
        move |facts: &mut Facts| {
            facts.machine.release = "5.10.0".to_owned();
            facts.machine.locked = locked;
        }
    };
    let kernel = ("kernel", Grade::Failure);
    assert_eq!(
        after(old(Some(LOCKED - 1))),
        [kernel, ("memlock", Grade::Warning)]
    );
    assert_eq!(after(old(Some(LOCKED))), [kernel]);
    assert_eq!(after(old(None)), [kernel]);
}

#[test]
fn settings_of_the_kernel_are_judged() {
    let unprivileged = |value: &'static str| {
        move |facts: &mut Facts| facts.machine.unprivileged = Ok(value.to_owned())
    };
    only(
        "unprivileged-bpf",
        Grade::Warning,
        unprivileged("0\n"),
        unprivileged("1\n"),
    );
    let jit =
        |value: &'static str| move |facts: &mut Facts| facts.machine.jit = Ok(value.to_owned());
    only("jit", Grade::Warning, jit("0\n"), jit("1\n"));
    only("jit", Grade::Warning, jit("2\n"), jit("1"));
    let capabilities = |mask| move |facts: &mut Facts| facts.machine.capabilities = Ok(mask);
    // CAP_NET_ADMIN and CAP_SYS_ADMIN, or one of them with all others.
    for lacks in [1 << 12, 1 << 21] {
        only(
            "capabilities",
            Grade::Advice,
            capabilities(!lacks),
            capabilities(1 << 21 | 1 << 12),
        );
    }
}

#[test]
fn files_that_are_refused_fail() {
    let wrong = || vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(
        after(|facts| {
            facts.config = Read::Wrong(wrong());
            facts.policy = None;
            facts.interfaces = None;
            facts.daemon = None;
        }),
        [("config", Grade::Failure)]
    );
    only(
        "policy",
        Grade::Failure,
        |facts| facts.policy = Some(Read::Wrong(wrong())),
        nothing,
    );
    let doubts = |doubts| {
        move |facts: &mut Facts| {
            if let Some(Read::Right(policy)) = &mut facts.policy {
                policy.doubts = doubts;
            }
        }
    };
    only("policy", Grade::Advice, doubts(1), doubts(0));
    only(
        "listener-config",
        Grade::Failure,
        |facts| facts.listener = Some(Read::Wrong(wrong())),
        |facts| facts.listener = None,
    );
    only(
        "keys",
        Grade::Failure,
        with_listener(|listener| listener.keys = Read::Wrong(wrong())),
        nothing,
    );
}

#[test]
fn pins_belong_into_a_bpf_file_system() {
    let bpf = |pins: &'static str, is_bpf| {
        move |facts: &mut Facts| {
            if let Read::Right(settings) = &mut facts.config {
                settings.pins = pins.into();
                settings.bpf = Ok(is_bpf);
            }
        }
    };
    only(
        "bpffs",
        Grade::Failure,
        bpf("/run/pins", false),
        bpf("/run/pins", true),
    );
    only(
        "bpffs",
        Grade::Warning,
        bpf("/sys/fs/bpf/x", false),
        bpf("/sys/fs/bpf/x", true),
    );
}

#[test]
fn pins_that_others_can_change_are_told() {
    let open = |why: Option<&'static str>| {
        move |facts: &mut Facts| {
            if let Read::Right(settings) = &mut facts.config {
                settings.open = Ok(why.map(str::to_owned));
            }
        }
    };
    only(
        "bpffs",
        Grade::Failure,
        open(Some("others can write")),
        open(None),
    );
}

#[test]
fn names_without_an_interface_are_told() {
    let absent = |facts: &mut Facts| {
        if let Some(Ok(interfaces)) = &mut facts.interfaces {
            interfaces.absent.push("wan0".to_owned());
        }
    };
    only("interface", Grade::Failure, absent, nothing);
    let unmatched = |facts: &mut Facts| {
        if let Some(Ok(interfaces)) = &mut facts.interfaces {
            interfaces.unmatched.push("wan*".to_owned());
        }
    };
    only("interface", Grade::Warning, unmatched, nothing);
}

#[test]
fn interfaces_without_the_filter_fail() {
    only(
        "attached",
        Grade::Failure,
        with_interface(|one| one.program = None),
        nothing,
    );
    only(
        "attached",
        Grade::Failure,
        with_interface(|one| one.ours = Ok(false)),
        nothing,
    );
    only(
        "attached",
        Grade::Advice,
        with_interface(|one| one.ours = Err("why".to_owned())),
        nothing,
    );
    let generic = |mode| {
        move |facts: &mut Facts| {
            if let Read::Right(settings) = &mut facts.config {
                settings.mode = mode;
            }
            with_interface(|one| {
                one.program = Some(Program {
                    id: 7,
                    mode: AttachMode::Generic,
                });
            })(facts);
        }
    };
    only(
        "attached",
        Grade::Warning,
        generic(XdpMode::Auto),
        generic(XdpMode::Generic),
    );
}

#[test]
fn limits_of_drivers_are_known() {
    let mtu = |driver: &'static str, mtu| {
        with_interface(move |one| {
            one.driver = Some(driver.to_owned());
            one.mtu = mtu;
        })
    };
    only("mtu", Grade::Warning, mtu("ena", 3499), mtu("ena", 3498));
    only("mtu", Grade::Warning, mtu("vif", 3841), mtu("vif", 3840));
    assert_eq!(after(mtu("mlx5_core", 9001)), []);
    let channels = |driver: &'static str, combined| {
        with_interface(move |one| {
            one.driver = Some(driver.to_owned());
            one.channels = Some(Channels { combined, most: 8 });
        })
    };
    only(
        "channels",
        Grade::Warning,
        channels("ena", 5),
        channels("ena", 4),
    );
    assert_eq!(after(channels("virtio_net", 8)), []);
    let native = |native| {
        with_interface(move |one| {
            one.driver = None;
            one.native = Ok(native);
        })
    };
    only("driver", Grade::Advice, native(false), native(true));
}

#[test]
fn offloads_that_hide_something_are_told() {
    let offload = |name: &'static str, vlans, mode| {
        move |facts: &mut Facts| {
            if let Some(Read::Right(policy)) = &mut facts.policy {
                policy.vlans = vlans;
            }
            if let Read::Right(settings) = &mut facts.config {
                settings.mode = XdpMode::Generic;
            }
            with_interface(|one| {
                one.offloads = Ok([name.to_owned()].into());
                one.program = Some(Program { id: 7, mode });
            })(facts);
        }
    };
    let vlan = "rx-vlan-hw-parse";
    only(
        "offloads",
        Grade::Warning,
        offload(vlan, true, AttachMode::Driver),
        offload(vlan, false, AttachMode::Driver),
    );
    // The kernel puts the tag back before a generic program sees the frame.
    assert_eq!(after(offload(vlan, true, AttachMode::Generic)), []);
    for joining in ["rx-lro", "rx-gro-hw"] {
        only(
            "offloads",
            Grade::Warning,
            offload(joining, false, AttachMode::Driver),
            offload("rx-gro", false, AttachMode::Driver),
        );
    }
}

#[test]
fn a_daemon_that_does_not_answer_fails() {
    let daemon = |asked| move |facts: &mut Facts| facts.daemon = Some(asked);
    only(
        "daemon",
        Grade::Failure,
        daemon(Asked::Nobody("why".to_owned())),
        nothing,
    );
    only(
        "daemon",
        Grade::Advice,
        daemon(Asked::Unseen("why".to_owned())),
        nothing,
    );
    only(
        "daemon",
        Grade::Warning,
        with_daemon(|status| status.warnings.push("x".to_owned())),
        nothing,
    );
    only(
        "daemon",
        Grade::Warning,
        with_daemon(|status| status.version = "0.0.0".to_owned()),
        nothing,
    );
}

#[test]
fn files_that_are_not_in_force_are_told() {
    let differ = |difference: Option<Seen<usize>>| {
        move |facts: &mut Facts| {
            facts.difference = difference;
            with_daemon(|status| status.policy = Some("other".to_owned()))(facts);
        }
    };
    let why = || Err("why".to_owned());
    only("generation", Grade::Warning, differ(Some(Ok(1))), |facts| {
        facts.difference = Some(Ok(1));
    });
    only("generation", Grade::Warning, differ(Some(why())), nothing);
    only("generation", Grade::Warning, differ(None), nothing);
    only("generation", Grade::Advice, differ(Some(Ok(0))), nothing);
}

#[test]
fn room_is_measured() {
    only(
        "room",
        Grade::Failure,
        with_room(|room| room.writable = false),
        nothing,
    );
    only(
        "room",
        Grade::Failure,
        with_room(|room| room.read_only = true),
        nothing,
    );
    only(
        "room",
        Grade::Failure,
        with_room(|room| room.bytes = NO_ROOM - 1),
        nothing,
    );
    only(
        "room",
        Grade::Failure,
        with_room(|room| room.files = Some(0)),
        with_room(|room| room.files = None),
    );
    only(
        "room",
        Grade::Warning,
        with_room(|room| room.bytes = LITTLE_ROOM - 1),
        nothing,
    );
    only(
        "room",
        Grade::Warning,
        with_room(|room| room.files = Some(FEW_FILES - 1)),
        nothing,
    );
    // Another user's not being able to write says nothing.
    let other = with_room(|room| {
        room.writable = false;
        room.root = false;
    });
    assert_eq!(after(other), [("room", Grade::Advice)]);
}

#[test]
fn a_clock_that_nothing_keeps_right_is_told() {
    only(
        "clock",
        Grade::Warning,
        |facts| facts.machine.synchronised = Ok(false),
        nothing,
    );
    only(
        "clock",
        Grade::Advice,
        |facts| facts.machine.synchronised = Err("why".to_owned()),
        nothing,
    );
}

#[test]
fn certificates_are_told_before_they_run_out() {
    only(
        "certificate",
        Grade::Advice,
        ends_in(30 * 24, -1),
        ends_in(30 * 24, 0),
    );
    only(
        "certificate",
        Grade::Warning,
        ends_in(7 * 24, -1),
        ends_in(31 * 24, 0),
    );
    only(
        "certificate",
        Grade::Failure,
        ends_in(0, 0),
        ends_in(31 * 24, 0),
    );
    assert_eq!(after(ends_in(7 * 24, 0)), [("certificate", Grade::Advice)]);
    assert_eq!(after(ends_in(0, 1)), [("certificate", Grade::Warning)]);
    let doubt = with_listener(|listener| {
        listener.certificates[0].loaded = Read::Right(Loaded {
            ends: Vec::new(),
            doubts: vec!["its mode is 0644".to_owned()],
        });
    });
    only("certificate", Grade::Warning, doubt, nothing);
    let wrong = with_listener(|listener| {
        listener.certificates[0].loaded = Read::Wrong(vec!["no PEM".to_owned()]);
    });
    only("certificate", Grade::Failure, wrong, nothing);
}

#[test]
fn the_listener_is_asked() {
    let absent = with_listener(|listener| listener.status = Asked::Nobody("why".to_owned()));
    only("listener", Grade::Failure, absent, nothing);
    only(
        "listener",
        Grade::Failure,
        with_front(|status| status.policy = None),
        nothing,
    );
    only(
        "listener",
        Grade::Warning,
        with_front(|status| {
            status
                .warnings
                .push("the daemon compiles the policy to other tables".to_owned());
        }),
        with_front(|status| {
            status
                .warnings
                .push("a certificate of listener `x` expires".to_owned());
        }),
    );
    only(
        "audit",
        Grade::Warning,
        with_front(|status| status.audit_lost = 1),
        nothing,
    );
    only(
        "upstream",
        Grade::Failure,
        with_front(|status| status.upstreams[0].healthy = false),
        nothing,
    );
}

#[test]
fn sockets_are_tried() {
    let knock = |knock| with_listener(move |listener| listener.doors[0].knock = knock);
    let address = "127.0.0.1:443".parse().expect("an address");
    let why = || "why".to_owned();
    only(
        "reachable",
        Grade::Failure,
        knock(Knock::Refused(address, why())),
        knock(Knock::Listening(why())),
    );
    only(
        "reachable",
        Grade::Warning,
        knock(Knock::OtherCertificate),
        nothing,
    );
    only(
        "reachable",
        Grade::Advice,
        knock(Knock::Closed(why())),
        nothing,
    );
    only(
        "reachable",
        Grade::Advice,
        knock(Knock::Untried(why())),
        nothing,
    );
}

#[test]
fn units_that_no_boot_starts_are_told() {
    let unit = |at: usize, installed, enabled| {
        move |facts: &mut Facts| {
            if let Ok(units) = &mut facts.units {
                units[at].installed = installed;
                units[at].enabled = enabled;
            }
        }
    };
    only("units", Grade::Warning, unit(0, true, false), nothing);
    only("units", Grade::Advice, unit(0, false, false), nothing);
    only("units", Grade::Warning, unit(1, true, false), |facts| {
        unit(1, true, false)(facts);
        facts.listener = None;
    });
    only(
        "units",
        Grade::Advice,
        |facts| facts.units = Err("why".to_owned()),
        nothing,
    );
}

#[test]
fn what_this_user_may_not_see_is_said_and_no_fault() {
    let why = || "permission denied".to_owned();
    let found = after(|facts| {
        facts.machine.capabilities = Err(why());
        facts.machine.jit = Err(why());
        facts.machine.unprivileged = Err(why());
        facts.policy = Some(Read::Unseen(why()));
        facts.daemon = Some(Asked::Unseen(why()));
        facts.directories[0].room = Err(why());
        facts.listener = Some(Read::Unseen(why()));
        with_interface(|one| {
            one.native = Err(why());
            one.offloads = Err(why());
        })(facts);
    });
    assert_eq!(found.len(), 9, "{found:?}");
    assert!(found.iter().all(|(_, grade)| *grade == Grade::Advice));
    assert_eq!(
        after(|facts| facts.interfaces = Some(Err(why()))),
        [("interface", Grade::Advice)]
    );
}
