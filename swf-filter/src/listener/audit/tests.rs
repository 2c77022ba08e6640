use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use swf_filter_core::policy::Origin;

use super::journal::JournalSocket;
use super::writer::Batch;
use super::*;
use crate::control::api::StatementInfo;
use crate::report::visible;

fn record(reason: &'static str) -> Record {
    let peer = "192.0.2.1:40000".parse().unwrap();
    let time = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
    let mut record = Record::new(time, 7, ["public", "swf"], peer, Verdict::Denied, reason);
    record.request_id = Some("0-1".into());
    record.principal = Some("arn:aws:iam::111122223333:user/alice".into());
    record
}

fn batch(entry: Entry) -> Batch {
    let mut batch = Batch::default();
    batch.add(entry);
    batch
}

fn as_line(entry: &Entry) -> Vec<u8> {
    let mut line = Vec::new();
    entry.write(&mut line);
    line
}

fn targets(path: &Path) -> Targets {
    Targets {
        file: Some(path.to_owned()),
        journal: Journal::Off,
    }
}

/// What a log says in short: reasons, losses, and lines that cannot be read.
fn read(path: &Path) -> Vec<String> {
    let mut lines = Lines::open(path).unwrap();
    let mut short = Vec::new();
    while let Some(line) = lines.read().unwrap() {
        short.push(match line {
            Line::Entry(entry, _) => match *entry {
                Entry::Lost(lost) => format!("{} lost", lost.lost),
                Entry::Request(record) => record.reason.into_owned(),
            },
            Line::Unreadable => "unreadable".to_owned(),
        });
    }
    if lines.is_torn() {
        short.push("torn".to_owned());
    }
    short
}

#[test]
fn records_are_written_in_order_before_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/audit.jsonl");
    let (audit, writing) = Audit::start(&targets(&path)).unwrap();
    for reason in ["one", "two", "three"] {
        audit.record(record(reason));
    }
    writing.finish();
    assert_eq!(read(&path), ["one", "two", "three"]);
    assert_eq!(audit.lost(), 0);
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & !0o640, 0, "{mode:o}");
    // Nobody writes any more, and that shows.
    audit.record(record("four"));
    assert_eq!(audit.lost(), 1);
}

/// If this fails, a field has another name than it had: what reads the log relies on them.
#[test]
fn names_of_fields_are_stable() {
    let mut whole = record("implicit-deny");
    whole.request_id = None;
    whole.principal = None;
    let line = |record: &Record| {
        let entry = Entry::Request(Box::new(record.clone()));
        String::from_utf8(as_line(&entry)).unwrap()
    };
    assert_eq!(
        line(&whole),
        "{\"kind\":\"request\",\"time\":\"2023-11-14T22:13:20.123Z\",\"generation\":7,\"listener\":\"public\",\"host\":\"swf\",\
         \"peer\":\"192.0.2.1:40000\",\"source\":\"192.0.2.1\",\"verdict\":\"denied\",\"reason\":\"implicit-deny\",\
         \"microseconds\":0}\n"
    );
    whole.request_id = Some("id".into());
    whole.vpc = Some("vpc-1".into());
    whole.endpoint = Some("vpce-1".into());
    whole.tls = Some(Tls {
        version: "TLSv1_3".into(),
        suite: "TLS13_AES_256_GCM_SHA384".into(),
    });
    whole.user_agent = Some("agent".into());
    whole.access_key_id = Some("AKIA".into());
    whole.principal = Some("arn".into());
    whole.service = Some("swf".into());
    whole.action = Some("swf:ListDomains".into());
    whole.resource = Some("arn".into());
    whole.words = Some("words".into());
    whole.statements = vec![statement()];
    whole.left_out = 1;
    whole.status = Some(400);
    whole.upstream = Some("aws".into());
    whole.upstream_status = Some(200);
    whole.upstream_microseconds = Some(5);
    let line = line(&whole);
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).unwrap();
    let names: Vec<&str> = object.keys().map(String::as_str).collect();
    let mut expected: Vec<&str> = "kind time generation listener host request_id peer source vpc endpoint tls user_agent \
         access_key_id principal service action resource verdict reason words statements left_out status upstream \
         upstream_status microseconds upstream_microseconds"
        .split(' ')
        .collect();
    expected.sort_unstable();
    let mut sorted = names;
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    let Entry::Request(read) = serde_json::from_str(&line).unwrap() else {
        panic!("another kind");
    };
    assert_eq!(*read, whole);
    let lost = Entry::Lost(Lost {
        time: whole.time,
        lost: 3,
    });
    assert_eq!(
        as_line(&lost),
        b"{\"kind\":\"lost\",\"time\":\"2023-11-14T22:13:20.123Z\",\"lost\":3}\n"
    );
}

fn statement() -> StatementInfo {
    StatementInfo {
        side: "identity".into(),
        effect: "Deny".into(),
        sid: None,
        origin: Origin {
            file: "a.json".into(),
            line: 1,
            column: 1,
        },
    }
}

#[test]
fn text_of_clients_is_cut_and_stays_on_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let (audit, writing) = Audit::start(&targets(&path)).unwrap();
    let mut hostile = record("bad-form");
    let agent = "a\"}\n{\"kind\":\"lost\",\"lost\":9}\n\x1b[2J\u{9b}2J\u{202e}\u{7f}";
    hostile.user_agent = Some(agent.into());
    hostile.action = Some("ä".repeat(300).as_str().into());
    hostile.access_key_id = Some("b".repeat(256).as_str().into());
    hostile.set_statements(vec![statement(); 100].into_iter());
    audit.record(hostile);
    writing.finish();
    assert_eq!(read(&path), ["bad-form"]);
    let text = fs::read_to_string(&path).unwrap();
    let text = text.trim_end();
    assert_eq!(visible(text), text);
    let Some(Line::Entry(entry, _)) = Lines::open(&path).unwrap().read().unwrap() else {
        panic!("no line");
    };
    assert!(!entry.to_string().contains(char::is_control), "{entry}");
    let Entry::Request(record) = *entry else {
        panic!("another kind");
    };
    assert_eq!(record.action.unwrap().to_string(), "ä".repeat(255) + "…");
    assert_eq!(&*record.user_agent.unwrap(), agent);
    assert_eq!(record.access_key_id.unwrap().len(), 256);
    assert_eq!((record.statements.len(), record.left_out), (16, 84));
}

#[test]
fn a_full_queue_loses_records_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let (audit, inbox) = Audit::queue(2);
    for reason in ["one", "two", "three", "four", "five"] {
        audit.record(record(reason));
    }
    assert_eq!(audit.lost(), 3);
    let writer = Writer::open(&targets(&path), Arc::clone(&audit.shared)).unwrap();
    drop(audit);
    writer.run(&inbox);
    assert_eq!(read(&path), ["3 lost", "one", "two"]);
}

#[test]
fn strangers_do_not_take_the_place_of_requests() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let (audit, inbox) = Audit::queue(8);
    let stranger = || {
        let mut record = record("source-not-allowed");
        record.request_id = None;
        record
    };
    let unsigned = || {
        let mut record = record("bad-signature");
        record.principal = None;
        record
    };
    for _ in 0..10 {
        audit.record(stranger());
        audit.record(unsigned());
    }
    for _ in 0..6 {
        audit.record(record("allowed"));
    }
    assert_eq!(audit.lost(), 18);
    audit.record(record("one too many"));
    assert_eq!(audit.lost(), 19);
    let mut writer = Writer::open(&targets(&path), Arc::clone(&audit.shared)).unwrap();
    // Those that are written make room.
    let Ok(Message::Record(first)) = inbox.try_recv() else {
        panic!("no record");
    };
    audit.shared.release(&first);
    writer.write(&batch(Entry::Request(first)));
    audit.record(stranger());
    assert_eq!(audit.lost(), 19);
    drop(audit);
    writer.run(&inbox);
    let read = read(&path);
    let count = |reason| read.iter().filter(|line| *line == reason).count();
    assert_eq!(
        [
            count("source-not-allowed"),
            count("bad-signature"),
            count("allowed"),
            count("19 lost")
        ],
        [2, 1, 6, 1]
    );
}

#[test]
fn strangers_are_written_so_many_times_a_second() {
    let mut recent = Recent::default();
    let start = Instant::now();
    let count = |recent: &mut Recent, at| (0..1_000).filter(|_| recent.admit(at, 25)).count();
    assert_eq!(count(&mut recent, start), 25);
    assert_eq!(count(&mut recent, start + Duration::from_millis(999)), 0);
    let next = start + Duration::from_secs(1);
    assert_eq!(count(&mut recent, next), 25);
}

#[test]
fn a_log_that_cannot_be_written_is_told_of_its_gap() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let (audit, inbox) = Audit::queue(8);
    let mut writer = Writer::open(&targets(&path), Arc::clone(&audit.shared)).unwrap();
    let put = |writer: &mut Writer, reason| {
        writer.write(&batch(Entry::Request(Box::new(record(reason)))));
    };
    put(&mut writer, "one");
    fs::rename(&path, folder.path().join("audit.jsonl.1")).unwrap();
    // What cannot be opened as a file, not even by root.
    fs::create_dir(&path).unwrap();
    put(&mut writer, "two");
    put(&mut writer, "three");
    assert_eq!(audit.lost(), 2);
    fs::remove_dir(&path).unwrap();
    put(&mut writer, "four");
    drop(audit);
    writer.run(&inbox);
    assert_eq!(read(&folder.path().join("audit.jsonl.1")), ["one"]);
    assert_eq!(read(&path), ["2 lost", "four"]);
}

#[test]
fn a_gap_is_told_without_another_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let (audit, inbox) = Audit::queue(8);
    let mut writer = Writer::open(&targets(&path), Arc::clone(&audit.shared)).unwrap();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    writer.write(&batch(Entry::Request(Box::new(record("one")))));
    fs::remove_dir(&path).unwrap();
    drop(audit);
    writer.run(&inbox);
    assert_eq!(read(&path), ["1 lost"]);
}

#[test]
fn a_log_that_is_renamed_goes_on_in_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let [path, rotated] = ["audit.jsonl", "audit.jsonl.1"].map(|name| folder.path().join(name));
    let (audit, writing) = Audit::start(&targets(&path)).unwrap();
    audit.record(record("one"));
    writing.finish();
    let (audit, writing) = Audit::start(&targets(&path)).unwrap();
    fs::rename(&path, &rotated).unwrap();
    audit.record(record("two"));
    audit.reopen();
    audit.record(record("three"));
    writing.finish();
    assert_eq!(read(&rotated), ["one"]);
    assert_eq!(read(&path), ["two", "three"]);
    assert_eq!(audit.lost(), 0);
}

#[test]
fn a_line_that_was_cut_off_takes_no_other_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let (audit, writing) = Audit::start(&targets(&path)).unwrap();
    audit.record(record("one"));
    audit.record(record("two"));
    writing.finish();
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    assert_eq!(read(&path), ["one", "torn"]);
    let (audit, writing) = Audit::start(&targets(&path)).unwrap();
    audit.record(record("three"));
    writing.finish();
    assert_eq!(read(&path), ["one", "unreadable", "three"]);
}

#[test]
fn lines_that_are_none_of_ours_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let line = as_line(&Entry::Request(Box::new(record("right"))));
    let long = vec![b'x'; 3 << 20];
    let garbage: [&[u8]; 4] = [b"\xff\xfe", b"{}", b"{\"kind\":\"other\"}", &long];
    let mut bytes = Vec::new();
    for wrong in garbage {
        bytes.extend([wrong, b"\n", &line, b"\n\n"].concat());
    }
    fs::write(&path, bytes).unwrap();
    assert_eq!(read(&path), ["unreadable", "right"].repeat(4));
}

#[test]
fn a_target_that_cannot_be_opened_is_an_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Audit::start(&targets(folder.path())).is_err());
    assert!(Audit::start(&targets(Path::new("/dev/null"))).is_err());
    assert!(JournalSocket::open(&folder.path().join("socket")).is_err());
}

#[test]
fn the_journal_gets_fields_that_no_text_can_add_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let journal = UnixDatagram::bind(&path).unwrap();
    journal
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut hostile = record("explicit-deny");
    hostile.access_key_id = Some("x\nPRIORITY=0\n".into());
    hostile.principal = Some("arn:aws:iam::111122223333:user/a".into());
    let entry = Entry::Request(Box::new(hostile));
    let line = as_line(&entry);
    JournalSocket::open(&path)
        .unwrap()
        .send(&entry, &line)
        .unwrap();
    let mut bytes = vec![0; 1 << 16];
    let length = journal.recv(&mut bytes).unwrap();
    let fields = fields(&bytes[..length]);
    let all = |name: &str| -> Vec<&str> {
        let values = fields.iter().filter(|(found, _)| found == name);
        values.map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(all("PRIORITY"), ["5"]);
    assert_eq!(all("SWF_ACCESS_KEY_ID"), ["x\nPRIORITY=0\n"]);
    assert_eq!(all("SWF_PRINCIPAL"), ["arn:aws:iam::111122223333:user/a"]);
    assert_eq!(all("SWF_VERDICT"), ["denied"]);
    assert!(all("SWF_VPC").is_empty());
    assert_eq!(all("SWF_RECORD")[0].as_bytes(), line.trim_ascii_end());
    assert!(all("MESSAGE")[0].contains("explicit-deny"));
}

/// A second reading of the journal's protocol.
fn fields(mut bytes: &[u8]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        let length = u64::from_le_bytes(bytes[end + 1..end + 9].try_into().unwrap());
        let value = end + 9..end + 9 + usize::try_from(length).unwrap();
        fields.push((text(&bytes[..end]), text(&bytes[value.clone()])));
        assert_eq!(bytes[value.end], b'\n');
        bytes = &bytes[value.end + 1..];
    }
    fields
}

#[test]
fn the_journal_does_not_hold_up_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let _full = UnixDatagram::bind(&path).unwrap();
    let socket = JournalSocket::open(&path).unwrap();
    let entry = Entry::Request(Box::new(record("one")));
    let line = as_line(&entry);
    // Nobody reads: it is an error before long, and not a wait.
    let sent = (0..100_000).find(|_| socket.send(&entry, &line).is_err());
    assert!(sent.is_some());
}

#[test]
fn where_records_go_follows_from_the_settings() {
    let paths = Paths::default();
    assert_eq!(Targets::new(&paths).journal, Journal::Auto);
    let paths = Paths {
        audit: None,
        ..paths
    };
    assert_eq!(
        Targets::new(&paths),
        Targets {
            file: None,
            journal: Journal::On
        }
    );
}
