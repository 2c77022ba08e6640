//! Rates are right, or are not there.

use super::*;
use crate::control::api::{EventInfo, GenerationInfo, PutBack, ReasonCount, ReloadInfo};

fn status(pid: u32, packets: [u64; 3]) -> Status {
    let reasons = ["allow", "deny", "audit-deny"].into_iter().zip(packets);
    let reasons = reasons.map(|(name, packets)| ReasonCount {
        reason: name.to_owned(),
        drops: name == "deny",
        packets,
        bytes: packets * 100,
    });
    Status {
        version: String::new(),
        pid,
        uptime_seconds: 0,
        generation: GenerationInfo::default(),
        policy: None,
        interfaces: Vec::new(),
        reasons: reasons.collect(),
        events: EventInfo::default(),
        reloads: ReloadInfo::default(),
        put_back: PutBack::default(),
        trial: None,
        held: None,
        warnings: vec!["a".to_owned()],
    }
}

fn listener(pid: u32, allowed: u64, expired: Option<u64>) -> ListenerStatus {
    ListenerStatus {
        version: String::new(),
        pid,
        uptime_seconds: 0,
        policy: None,
        listeners: vec![ListenerInfo {
            name: "payments".to_owned(),
            host: "swf".to_owned(),
            sockets: Vec::new(),
            open: 3,
            accepted: 2 * allowed,
            handshakes: 0,
            turned_away: expired
                .map(|count| ("too-many".to_owned(), count))
                .into_iter()
                .collect(),
            handshakes_refused: Vec::new(),
            certificates: Vec::new(),
        }],
        upstreams: Vec::new(),
        requests: vec![("allowed".to_owned(), allowed), ("denied".to_owned(), 0)],
        actions: Vec::new(),
        files: Vec::new(),
        audit_lost: 0,
        warnings: vec!["b".to_owned()],
    }
}

fn reading(at: u64, packets: [u64; 3]) -> Reading {
    Reading {
        at: Duration::from_millis(at),
        gate: Ok(Gate {
            status: status(1, packets),
            busiest: None,
        }),
        listener: Err("none".to_owned()),
        events: Events::default(),
    }
}

fn gate(model: &mut Model, reading: Reading) -> GateRates {
    model.take(reading).gate.expect("the gate answers")
}

fn counted(gate: &GateRates) -> Vec<Option<u64>> {
    gate.reasons.iter().map(|one| one.packets.counted).collect()
}

fn event(source: &str, host: &str) -> EventReport {
    EventReport {
        time: String::new(),
        generation: 1,
        reason: "deny".to_owned(),
        dropped: true,
        host: Some(host.into()),
        zone: None,
        interface: String::new(),
        vlan: None,
        source: source.parse().ok(),
        source_port: None,
        destination: None,
        destination_port: None,
        protocol: None,
        length: 0,
        rule: None,
        origin: None,
        words: None,
    }
}

#[test]
fn a_first_reading_has_totals_and_no_rates() {
    let gate = gate(&mut Model::default(), reading(0, [10, 20, 30]));
    assert_eq!(counted(&gate), [None; 3]);
    assert_eq!((gate.packets.total, gate.dropped.total), (60, 20));
    assert_eq!((gate.packets.per_second, gate.seconds), (None, 0.0));
}

#[test]
fn rates_are_differences_over_the_time_between() {
    let mut model = Model::default();
    model.take(reading(1_000, [10, 20, 30]));
    let gate = gate(&mut model, reading(1_500, [11, 25, 30]));
    assert_eq!(counted(&gate), [Some(1), Some(5), Some(0)]);
    assert_eq!(gate.packets.per_second, Some(12.0));
    assert_eq!(gate.dropped.per_second, Some(10.0));
    assert_eq!((gate.dropped.total, gate.bytes.counted), (25, Some(600)));
}

#[test]
fn counters_that_go_back_give_no_rate_once() {
    let mut model = Model::default();
    model.take(reading(0, [1_000, 1_000, 1_000]));
    // One of them is larger than before, and still begins anew with the others.
    let anew = gate(&mut model, reading(1_000, [2_000, 0, 0]));
    assert_eq!(counted(&anew), [None; 3]);
    assert_eq!((anew.packets.counted, anew.packets.total), (None, 2_000));
    let next = gate(&mut model, reading(2_000, [2_001, 0, 0]));
    assert_eq!(counted(&next), [Some(1), Some(0), Some(0)]);
}

#[test]
fn a_restart_of_the_daemon_keeps_the_counters_of_the_filter() {
    let mut model = Model::default();
    model.take(reading(0, [1, 1, 1]));
    let mut next = reading(1_000, [3, 1, 1]);
    if let Ok(gate) = &mut next.gate {
        gate.status.pid = 2;
    }
    assert_eq!(gate(&mut model, next).packets.counted, Some(2));
}

#[test]
fn a_gate_that_was_away_is_compared_over_all_that_time() {
    let mut model = Model::default();
    model.take(reading(0, [0, 0, 0]));
    let mut away = reading(1_000, [0, 0, 0]);
    away.gate = Err("gone".to_owned());
    let rates = model.take(away);
    assert_eq!(
        (rates.gate, rates.gate_error),
        (None, Some("gone".to_owned()))
    );
    let back = gate(&mut model, reading(4_000, [8, 0, 0]));
    assert_eq!((back.packets.per_second, back.seconds), (Some(2.0), 4.0));
}

#[test]
fn two_readings_at_one_time_give_no_rate() {
    let mut model = Model::default();
    model.take(reading(1_000, [0, 0, 0]));
    assert_eq!(
        gate(&mut model, reading(1_000, [9, 0, 0]))
            .packets
            .per_second,
        None
    );
}

#[test]
fn the_listener_is_compared_for_as_long_as_it_lives() {
    let at = |at, status| {
        let mut reading = reading(at, [0, 0, 0]);
        reading.listener = Ok(status);
        reading
    };
    let mut model = Model::default();
    model.take(at(0, listener(1, 10, None)));
    let rates = model
        .take(at(2_000, listener(1, 14, Some(6))))
        .listener
        .expect("it answers");
    assert_eq!(rates.requests[0].rate.per_second, Some(2.0));
    assert_eq!(rates.requests[1].rate.counted, Some(0));
    assert_eq!(rates.listeners[0].accepted.counted, Some(8));
    // A reason that there was none of is not listed, and was zero.
    assert_eq!(rates.listeners[0].turned_away[0].rate.counted, Some(6));
    // Another process has counters of its own, even where they are larger.
    let rates = model
        .take(at(3_000, listener(2, 99, Some(9))))
        .listener
        .expect("it answers");
    assert_eq!(
        (rates.requests[0].rate.counted, rates.requests[0].rate.total),
        (None, 99)
    );
    assert_eq!(rates.listeners[0].turned_away[0].rate.counted, None);
}

#[test]
fn sources_stand_for_packets_without_events() {
    let mut model = Model::default();
    model.take(reading(0, [0, 0, 0]));
    let mut next = reading(1_000, [500, 30, 10]);
    for source in ["192.0.2.1", "192.0.2.1", "192.0.2.1", "2001:db8::1"] {
        next.events.add(event(source, "swf"));
    }
    let sources = gate(&mut model, next).sources;
    // Dropped, and what would be; what is allowed is worth no event.
    assert_eq!((sources.events, sources.packets), (4, Some(40)));
    let listed = sources
        .busiest
        .iter()
        .map(|one| (one.events, one.estimated_per_second));
    assert_eq!(
        listed.collect::<Vec<_>>(),
        [(3, Some(30.0)), (1, Some(10.0))]
    );
}

#[test]
fn events_are_never_scaled_down() {
    let mut model = Model::default();
    model.take(reading(0, [0, 0, 0]));
    let mut next = reading(1_000, [0, 1, 0]);
    next.events.add(event("192.0.2.1", "swf"));
    next.events.add(event("192.0.2.1", "swf"));
    let sources = gate(&mut model, next).sources;
    assert_eq!(sources.busiest[0].estimated_per_second, Some(2.0));
    // Without counters to hold them against, there is nothing to scale by.
    let mut alone = reading(0, [0, 0, 0]);
    alone.events.add(event("192.0.2.1", "swf"));
    let sources = gate(&mut Model::default(), alone).sources;
    assert_eq!(sources.busiest[0].estimated_per_second, None);
}

#[test]
fn more_sources_than_anyone_reads_are_only_counted() {
    let mut events = Events::default();
    let many = u32::try_from(MOST_SOURCES).expect("a number") + 5;
    for number in 0..many {
        let source = std::net::Ipv4Addr::from_bits(number).to_string();
        events.add(event(&source, "swf"));
    }
    events.add(event("0.0.0.1", "swf"));
    events.add(event("no address", "swf"));
    assert_eq!((events.by_source.len(), events.unnamed), (MOST_SOURCES, 6));
    assert_eq!(sources(&events, None, 1.0).busiest.len(), LISTED);
}

#[test]
fn warnings_of_both_are_shown() {
    let mut reading = reading(0, [0, 0, 0]);
    reading.listener = Ok(listener(1, 0, None));
    assert_eq!(Model::default().take(reading).warnings, ["a", "b"]);
}
