//! What is seen at 80x24 and 120x40, of friends and of foes.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent};

use super::*;
use crate::control::api::{
    Busiest, EventInfo, EventReport, GenerationInfo, HostChange, InterfaceInfo, PutBack,
    ReasonCount, ReloadInfo, RuleChange, Status,
};
use crate::listener::status::{ListenerInfo, ListenerStatus, UpstreamInfo};
use crate::top::model::{Events, Gate, Model, Reading};
use swf_filter_core::compile::List;
use swf_filter_core::policy::Origin;

/// Names as they are in a policy.
const FRIEND: [&str; 3] = ["payments", "203.0.113.66", "policy.d/10-payments.toml"];
/// Names that would clear the screen, turn the writing around, take two columns a character, and have no end.
const FOE: [&str; 3] = [
    "\x1b[2J\x1b[31mpwned\r\n\u{202e}drawkcab\u{9b}0m",
    "大きな規則大きな規則大きな規則大きな規則大きな規則大きな規則大きな規則",
    "policy.d/\u{200b}\u{7}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

fn busiest([host, rule, file]: [&str; 3]) -> Busiest {
    let rule_of = |number, text: &str, list, verdict, packets| RuleChange {
        number,
        host: host.into(),
        list,
        rule: text.into(),
        origin: Origin {
            file: file.into(),
            line: 7,
            column: 1,
        },
        verdict,
        packets,
        bytes: 100 * packets,
    };
    Busiest {
        generation: 7,
        milliseconds: 2_000,
        host_count: 12,
        rule_count: 34_567,
        hosts: vec![
            HostChange {
                host: host.into(),
                passed: 4_000,
                dropped: 30,
                would_drop: 0,
            },
            HostChange {
                host: "trial".into(),
                passed: 1,
                dropped: 0,
                would_drop: 8,
            },
        ],
        rules: vec![
            rule_of(1, "203.0.113.0/24", List::Allow, RuleVerdict::Pass, 4_000),
            rule_of(2, rule, List::Deny, RuleVerdict::Drop, 30),
            rule_of(
                3,
                "default = \"drop\"",
                List::Default,
                RuleVerdict::WouldDrop,
                8,
            ),
        ],
    }
}

fn status(packets: u64, names: [&str; 3]) -> Status {
    let reasons = [
        ("allow", false, 400),
        ("deny", true, 3),
        ("not-ip", false, 0),
    ];
    let reasons = reasons.map(|(reason, drops, factor)| ReasonCount {
        reason: reason.to_owned(),
        drops,
        packets: factor * packets,
        bytes: 1_000 * factor * packets,
    });
    Status {
        version: "0.1.0".to_owned(),
        pid: 1,
        uptime_seconds: 60,
        generation: GenerationInfo {
            number: 7,
            ..GenerationInfo::default()
        },
        policy: None,
        interfaces: vec![InterfaceInfo {
            name: "eth0".to_owned(),
            index: Some(2),
            mode: Some(AttachMode::Driver),
            note: None,
        }],
        reasons: reasons.into(),
        events: EventInfo::default(),
        reloads: ReloadInfo::default(),
        put_back: PutBack::default(),
        trial: None,
        held: None,
        warnings: if names == FOE {
            vec![FOE.join("\n")]
        } else {
            Vec::new()
        },
    }
}

fn listener(requests: u64, name: &str) -> ListenerStatus {
    ListenerStatus {
        version: "0.1.0".to_owned(),
        pid: 2,
        uptime_seconds: 60,
        policy: None,
        listeners: vec![ListenerInfo {
            name: name.to_owned(),
            host: name.to_owned(),
            sockets: Vec::new(),
            open: 3,
            accepted: requests,
            handshakes: 0,
            turned_away: vec![("source-not-allowed".to_owned(), 4)],
            handshakes_refused: Vec::new(),
            certificates: Vec::new(),
        }],
        upstreams: vec![UpstreamInfo {
            name: "swf".to_owned(),
            address: "http://127.0.0.1:5000".to_owned(),
            healthy: true,
            last_error: None,
            requests,
            failures: 0,
        }],
        requests: vec![("allowed".to_owned(), requests), ("denied".to_owned(), 2)],
        actions: Vec::new(),
        files: Vec::new(),
        audit_lost: 0,
        warnings: Vec::new(),
    }
}

fn rates(names: [&str; 3]) -> Rates {
    let reading = |at: u64, packets| {
        let mut events = Events::default();
        for source in [
            "192.0.2.7",
            "192.0.2.7",
            "2001:db8:1111:2222:3333:4444:5555:6666",
        ] {
            events.add(EventReport {
                time: String::new(),
                generation: 7,
                reason: "deny".to_owned(),
                dropped: true,
                host: Some(names[0].into()),
                zone: None,
                interface: "eth0".to_owned(),
                vlan: None,
                source: source.parse().ok(),
                source_port: None,
                destination: None,
                destination_port: None,
                protocol: None,
                length: 60,
                rule: None,
                origin: None,
                words: None,
            });
        }
        Reading {
            at: Duration::from_secs(at),
            gate: Ok(Gate {
                status: status(packets, names),
                busiest: Some(busiest(names)),
            }),
            listener: Ok(listener(packets, names[0])),
            events,
        }
    };
    let mut model = Model::default();
    model.take(reading(0, 100));
    model.take(reading(2, 110))
}

fn drawn(size: (u16, u16), rates: Option<&Rates>, view: &mut View) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).expect("a backend");
    terminal
        .draw(|frame| draw(frame, rates, view))
        .expect("it draws");
    let buffer = terminal.backend().buffer();
    let lines = buffer.content.chunks(usize::from(size.0));
    let text = |line: &[ratatui::buffer::Cell]| {
        let mut text = String::new();
        let mut covered = 0;
        for cell in line {
            // What a wide character covers is not written.
            if covered == 0 {
                text.push_str(cell.symbol());
                covered = Span::raw(cell.symbol()).width().saturating_sub(1);
            } else {
                covered -= 1;
            }
        }
        assert_eq!(Span::raw(text.as_str()).width(), usize::from(size.0));
        text.trim_end().to_owned()
    };
    lines.map(text).collect()
}

const AT_80: &str = "\
swf-filter top  generation: gate 7, listener -
packets 2015/s  2.0MB/s  dropped 15/s  requests: allowed 5/s, denied 0/s
eth0 driver
REASONS                                  LISTENER (0 above, 1 below)
packet/s  packets  reason                a second    total  what
    2000    44000  allow                        5      110  requests allowed
      15      330  deny                         0        2  requests denied
                                                5      110  payments: connectio…
                                                0        4  payments: turned aw…
HOSTS 2 of 12                            SOURCES of drops, sampled: 3 of 30
 pass/s  drop/s audit/s  host             ~drop/s events  source, host
   2000      15       0  payments              10      2  192.0.2.7 payments
    0.5       0       4  trial                  5      1  2001:db8:1111:2222:33…


RULES 3 of 34567
packet/s does       host             list            rule
    2000 pass       payments         allow           203.0.113.0/24
      15 drop       payments         deny            203.0.113.66
       4 would drop payments         default         default = \"drop\"



q end  tab panel  up/down rows  enter one panel  s sort  p pause  / host  ? help";

#[test]
fn eighty_columns_show_everything_that_matters() {
    let lines = drawn((80, 24), Some(&rates(FRIEND)), &mut View::default());
    assert_eq!(lines.join("\n"), AT_80);
}

#[test]
fn a_larger_terminal_shows_more() {
    let lines = drawn((120, 40), Some(&rates(FRIEND)), &mut View::default());
    let all = lines.join("\n");
    for words in [
        "payments: turned away source-not-allowed",
        "upstream up swf http://127.0.0.1:5000",
        "2001:db8:1111:2222:3333:4444:5555:6666",
        "policy.d/10-payments.toml:7:1",
    ] {
        assert!(all.contains(words), "no `{words}` in\n{all}");
    }
    assert_eq!(lines.len(), 40);
}

#[test]
fn names_command_no_terminal() {
    for size in [(80, 24), (120, 40), (30, 8), (3, 2), (1, 1)] {
        let all = drawn(size, Some(&rates(FOE)), &mut View::default()).concat();
        for forbidden in [
            '\x1b', '\r', '\n', '\u{202e}', '\u{9b}', '\u{200b}', '\u{7}',
        ] {
            assert!(!all.contains(forbidden), "{forbidden:?} at {size:?}");
        }
    }
    let all = drawn((120, 40), Some(&rates(FOE)), &mut View::default()).join("\n");
    assert!(all.contains("\\u{1b}[2J") && all.contains("大き"), "{all}");
}

#[test]
fn wide_characters_leave_columns_where_they_are() {
    let names = ["大きな規則大きな規則大きな規則", "rule", "file"];
    let lines = drawn((80, 24), Some(&rates(names)), &mut View::default());
    let row = lines
        .iter()
        .find(|line| line.contains("15 drop"))
        .expect("a rule");
    assert_eq!(
        row,
        "      15 drop       大きな規則大き…  deny            rule"
    );
}

#[test]
fn a_text_is_cut_to_its_columns() {
    for (text, width, expected) in [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("大大", 4, "大大"),
        ("大大大", 4, "大…"),
        ("大", 1, "…"),
        ("abc", 0, ""),
    ] {
        assert_eq!(cut(text, width), expected, "{text} in {width}");
    }
}

#[test]
fn a_daemon_that_is_gone_is_told_and_nothing_else_changes() {
    let mut model = Model::default();
    let gone = model.take(Reading {
        at: Duration::ZERO,
        gate: Err("/run/swf-filter/control.sock: \x1bNo such file".to_owned()),
        listener: Ok(listener(5, "payments")),
        events: Events::default(),
    });
    let lines = drawn((80, 24), Some(&gone), &mut View::default());
    assert_eq!(
        lines[2],
        "NO DAEMON ANSWERS, trying again: /run/swf-filter/control.sock: \\u{1b}No such fi…"
    );
    assert!(lines.join("\n").contains("requests allowed"));
    let lines = drawn((80, 24), None, &mut View::default());
    assert_eq!(lines[2], "asking...");
}

#[test]
fn keys_change_what_is_drawn() {
    let rates = rates(FRIEND);
    let mut view = View::default();
    let press = |view: &mut View, keys: &[KeyCode]| {
        for key in keys {
            view.press(KeyEvent::from(*key));
        }
    };
    press(&mut view, &[KeyCode::Char('?')]);
    assert!(drawn((80, 24), Some(&rates), &mut view)[0].starts_with("q            end"));
    press(&mut view, &[KeyCode::Char('x'), KeyCode::Char('/')]);
    press(
        &mut view,
        &"tri".chars().map(KeyCode::Char).collect::<Vec<_>>(),
    );
    let lines = drawn((80, 24), Some(&rates), &mut view);
    assert!(lines[0].ends_with("host: tri") && lines[23].starts_with("host has: tri_"));
    let all = lines.join("\n");
    assert!(
        all.contains("HOSTS 1 of 12") && all.contains("RULES 0 of"),
        "{all}"
    );
    press(&mut view, &[KeyCode::Esc, KeyCode::BackTab, KeyCode::Enter]);
    let lines = drawn((80, 24), Some(&rates), &mut view);
    assert!(lines[3].starts_with("RULES 3 of 34567"), "{lines:?}");
    // By name, the default comes last but for what it is said before.
    press(&mut view, &[KeyCode::Char('s'), KeyCode::Char('s')]);
    let lines = drawn((80, 24), Some(&rates), &mut view);
    assert!(lines[7].contains("default"), "{lines:?}");
}

#[test]
fn rows_that_do_not_fit_can_be_scrolled_to_and_no_further() {
    let rates = rates(FRIEND);
    let mut view = View::default();
    view.press(KeyEvent::from(KeyCode::Tab));
    let all = drawn((80, 24), Some(&rates), &mut view).join("\n");
    assert!(
        all.contains("LISTENER (0 above, 1 below)") || all.contains("LISTENER"),
        "{all}"
    );
    for _ in 0..50 {
        view.press(KeyEvent::from(KeyCode::Down));
    }
    let all = drawn((80, 24), Some(&rates), &mut view).join("\n");
    assert!(
        all.contains("1 above, 0 below") && all.contains("upstream up"),
        "{all}"
    );
}

#[test]
fn numbers_keep_to_six_characters() {
    for (value, text) in [
        (0.0, "0"),
        (0.5, "0.5"),
        (999.96, "1000.0"),
        (99_999.0, "99999"),
        (123_456.0, "123.5k"),
        (1_500_000.0, "1.5M"),
        (2e9, "2G"),
        (1.8e19, "18000000T"),
    ] {
        assert_eq!(number(value), text);
    }
}
