//! `swf-filter audit`: finds records in the audit log.

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use ipnetwork::IpNetwork;
use jiff::{SignedDuration, Timestamp};
use swf_filter_core::iam::pattern::Case;
use swf_filter_core::iam::{Context, Pattern};

use super::{Arguments, Output, listener_paths, unreadable};
use crate::listener::audit::{Entry, Line, Lines, Verdict};
use crate::report::{printable_json, visible};

/// How often a followed log is looked at.
const PAUSE: Duration = Duration::from_millis(200);

/// Which records.
#[derive(Args, Clone, Default)]
pub(super) struct Audit {
    /// Go on with what is recorded from now on.
    #[arg(long)]
    follow: bool,
    /// Only the newest so many of those that are there.
    #[arg(long)]
    limit: Option<usize>,
    /// From then on: a time such as 2015-08-30T12:36:00Z, or how long ago, such as 90m.
    #[arg(long, value_parser = time)]
    since: Option<Timestamp>,
    /// Until then, likewise.
    #[arg(long, value_parser = time)]
    until: Option<Timestamp>,
    /// Of whom: an ARN, in which `*` and `?` are wildcards.
    #[arg(long)]
    principal: Option<String>,
    /// Of what was called, such as `swf:Poll*`.
    #[arg(long)]
    action: Option<String>,
    /// Of what became of it.
    #[arg(long, value_enum)]
    verdict: Option<Verdict>,
    /// From where: an address, or a prefix.
    #[arg(long, value_name = "CIDR")]
    source: Option<IpNetwork>,
    /// Of one request.
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// The log; the one that listener.toml names if not given. Rotated logs are read only if they are named.
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
}

/// A time, or how long ago.
fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago: Option<SignedDuration> = text.parse().ok();
    ago.filter(|ago| !ago.is_negative())
        .and_then(|ago| Timestamp::now().checked_sub(ago).ok())
        .ok_or_else(|| {
            "write a time such as 2015-08-30T12:36:00Z, or how long ago, such as 90m".to_owned()
        })
}

impl Arguments {
    pub(super) fn audit(&self, asked: &Audit) -> Result<()> {
        let path = match &asked.file {
            Some(path) => path.clone(),
            None => listener_paths(self)?.audit.context(
                "the settings name no audit log; it is in the journal: `journalctl -t swf-filter-listener`",
            )?,
        };
        let mut search = Search {
            filter: Filter::new(asked),
            output: self.output,
            to: BufWriter::new(io::stdout().lock()),
            unreadable: 0,
        };
        let printed = search.run(&path, asked, || {
            sleep(PAUSE);
            true
        });
        if search.unreadable > 0 {
            // Whoever has closed standard error does not want to know.
            let _unwritable = writeln!(
                io::stderr(),
                "note: lines of `{}` that could not be read: {}",
                visible(&path.to_string_lossy()),
                search.unreadable
            );
        }
        printed
    }
}

/// A search, and where what is found goes.
struct Search<W> {
    filter: Filter,
    output: Output,
    to: W,
    /// Lines that could not be read.
    unreadable: u64,
}

impl<W: Write> Search<W> {
    /// Prints what is there, and then what comes for as long as `wait` says so.
    fn run(&mut self, path: &Path, asked: &Audit, mut wait: impl FnMut() -> bool) -> Result<()> {
        let mut lines = open(path)?;
        let mut newest = VecDeque::new();
        while let Some(line) = lines.read()? {
            let Some(line) = self.wanted(line) else {
                continue;
            };
            let Some(limit) = asked.limit else {
                self.print(&line)?;
                continue;
            };
            newest.push_back(line);
            if newest.len() > limit {
                newest.pop_front();
            }
        }
        for line in &newest {
            self.print(line)?;
        }
        self.to.flush()?;
        while asked.follow && wait() {
            let is_replaced = lines.is_replaced()?;
            // What was written before it was renamed.
            self.rest(&mut lines)?;
            if is_replaced {
                self.unreadable += u64::from(lines.is_torn());
                lines = open(path)?;
                self.rest(&mut lines)?;
            }
            self.to.flush()?;
        }
        self.unreadable += u64::from(lines.is_torn());
        Ok(())
    }

    fn rest(&mut self, lines: &mut Lines) -> Result<()> {
        while let Some(line) = lines.read()? {
            if let Some(line) = self.wanted(line) {
                self.print(&line)?;
            }
        }
        Ok(())
    }

    /// A line as it is printed, if it is one that is asked for.
    fn wanted(&mut self, line: Line) -> Option<String> {
        let Line::Entry(entry, text) = line else {
            self.unreadable += 1;
            return None;
        };
        self.filter.takes(&entry).then(|| match self.output {
            Output::Json => printable_json(&text),
            Output::Text => visible(&format!("{:.3} {entry}", entry.time())),
        })
    }

    fn print(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.to, "{line}")
    }
}

fn open(path: &Path) -> Result<Lines> {
    Lines::open(path).map_err(|error| {
        let hint = "the listener makes it with its first record; --file names another";
        unreadable(path, &error, hint)
    })
}

/// Which records are asked for.
struct Filter {
    asked: Audit,
    principal: Option<Pattern>,
    action: Option<Pattern>,
}

impl Filter {
    fn new(asked: &Audit) -> Self {
        let glob =
            |text: &Option<String>, case| text.as_deref().map(|text| Pattern::glob(text, case));
        Self {
            principal: glob(&asked.principal, Case::Keep),
            // As in policies.
            action: glob(&asked.action, Case::Fold),
            asked: asked.clone(),
        }
    }

    /// Whether an entry is asked for. That records are missing is told whatever is asked: what is asked for may be among them.
    fn takes(&self, entry: &Entry) -> bool {
        let asked = &self.asked;
        let time = entry.time();
        let is_then = asked.since.is_none_or(|since| since <= time)
            && asked.until.is_none_or(|until| time <= until);
        let Entry::Request(record) = entry else {
            return is_then;
        };
        is_then
            && is_like(self.principal.as_ref(), record.principal.as_deref())
            && is_like(self.action.as_ref(), record.action.as_deref())
            && asked
                .verdict
                .is_none_or(|verdict| verdict == record.verdict)
            && asked
                .source
                .is_none_or(|source| source.contains(record.source))
            && asked
                .request_id
                .as_deref()
                .is_none_or(|id| record.request_id.as_deref() == Some(id))
    }
}

/// Whether there is a text that a pattern matches, if there is a pattern.
fn is_like(pattern: Option<&Pattern>, text: Option<&str>) -> bool {
    pattern
        .is_none_or(|pattern| text.is_some_and(|text| pattern.matches(text, &Context::default())))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};

    use clap::Parser;

    use super::*;
    use crate::listener::audit::{Journal, Record, Targets};

    #[derive(Parser)]
    struct Asked {
        #[command(flatten)]
        audit: Audit,
    }

    fn asked(arguments: &str) -> Audit {
        let words = std::iter::once("audit").chain(arguments.split_whitespace());
        Asked::try_parse_from(words).expect(arguments).audit
    }

    fn record(second: i64, verdict: Verdict, action: &str, user: &str) -> Record {
        let source = format!("192.0.2.{second}:40000")
            .parse()
            .expect("an address");
        let time = Timestamp::from_second(second).expect("a time");
        let mut record = Record::new(time, 1, ["public", "swf"], source, verdict, "some-reason");
        record.action = Some(action.into());
        record.principal = Some(format!("arn:aws:iam::111122223333:user/{user}").into());
        record.request_id = Some(format!("id-{second}").into());
        record
    }

    fn write(path: &Path, records: impl IntoIterator<Item = Record>) {
        let targets = Targets {
            file: Some(path.to_owned()),
            journal: Journal::Off,
        };
        let (audit, writing) = crate::listener::audit::Audit::start(&targets).expect("a log");
        for record in records {
            audit.record(record);
        }
        writing.finish();
    }

    fn three() -> [Record; 3] {
        [
            record(1, Verdict::Allowed, "swf:ListDomains", "alice"),
            record(2, Verdict::Denied, "swf:PollForDecisionTask", "bob"),
            record(3, Verdict::Denied, "swf:PollForActivityTask", "alice"),
        ]
    }

    fn search(output: Output, asked: &Audit) -> Search<Vec<u8>> {
        Search {
            filter: Filter::new(asked),
            output,
            to: Vec::new(),
            unreadable: 0,
        }
    }

    /// The ids of requests that are found.
    fn found(path: &Path, arguments: &str) -> Vec<String> {
        let asked = asked(arguments);
        let mut search = search(Output::Json, &asked);
        search.run(path, &asked, || false).expect(arguments);
        ids(&search.to)
    }

    fn ids(printed: &[u8]) -> Vec<String> {
        let lines = printed
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let ids = lines.map(|line| {
            let value: serde_json::Value = serde_json::from_slice(line).expect("JSON");
            value["request_id"].as_str().unwrap_or("lost").to_owned()
        });
        ids.collect()
    }

    #[test]
    fn records_are_found_by_what_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        write(&path, three());
        for (arguments, expected) in [
            ("", "id-1 id-2 id-3"),
            ("--limit 2", "id-2 id-3"),
            ("--limit 0", ""),
            ("--since 1970-01-01T00:00:02Z", "id-2 id-3"),
            ("--until 1970-01-01T00:00:02Z", "id-1 id-2"),
            ("--since 1h", ""),
            ("--until 1h", "id-1 id-2 id-3"),
            ("--principal *alice", "id-1 id-3"),
            ("--principal alice", ""),
            ("--action SWF:poll*", "id-2 id-3"),
            ("--verdict denied --principal *alice", "id-3"),
            ("--source 192.0.2.0/31", "id-1"),
            ("--source 192.0.2.3", "id-3"),
            ("--request-id id-2", "id-2"),
        ] {
            assert_eq!(found(&path, arguments).join(" "), expected, "{arguments}");
        }
        for wrong in [
            "--since yesterday",
            "--since -1h",
            "--source host",
            "--verdict maybe",
        ] {
            let words = ["audit"].into_iter().chain(wrong.split_whitespace());
            assert!(Asked::try_parse_from(words).is_err(), "{wrong}");
        }
    }

    #[test]
    fn people_get_a_line_a_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        write(&path, three());
        let asked = asked("--limit 1");
        let mut search = search(Output::Text, &asked);
        search.run(&path, &asked, || false).unwrap();
        assert_eq!(
            String::from_utf8(search.to).unwrap(),
            "1970-01-01T00:00:03.000Z denied    - swf:PollForActivityTask              192.0.2.3       \
             arn:aws:iam::111122223333:user/alice swf some-reason 0.0 ms id-3\n"
        );
    }

    #[test]
    fn lines_that_cannot_be_read_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        write(&path, three());
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"garbage\n{\"kind\":\"lost\",\"time\":\"1970-01-01T00:00:04Z\",\"lost\":2}\n{\"kind\":")
            .unwrap();
        let asked = asked("--principal *bob");
        let mut search = search(Output::Json, &asked);
        search.run(&path, &asked, || false).unwrap();
        assert_eq!(ids(&search.to), ["id-2", "lost"]);
        assert_eq!(search.unreadable, 2);
    }

    #[test]
    fn a_followed_log_goes_on_after_it_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let [one, two, three] = three();
        write(&path, [one]);
        let asked = asked("--follow");
        let mut search = search(Output::Json, &asked);
        let mut turn = 0;
        let more = record(4, Verdict::Failed, "swf:ListDomains", "bob");
        let last = record(5, Verdict::Failed, "swf:ListDomains", "bob");
        search
            .run(&path, &asked, || {
                turn += 1;
                match turn {
                    1 => write(&path, [two.clone()]),
                    2 => {
                        write(&path, [three.clone()]);
                        fs::rename(&path, folder.path().join("audit.jsonl.1")).unwrap();
                    }
                    3 => write(&path, [more.clone()]),
                    4 => fs::write(&path, "").unwrap(),
                    5 => write(&path, [last.clone()]),
                    _ => return false,
                }
                true
            })
            .unwrap();
        assert_eq!(ids(&search.to).join(" "), "id-1 id-2 id-3 id-4 id-5");
        assert_eq!(search.unreadable, 0);
    }

    #[test]
    fn a_reader_that_ends_early_ends_the_search() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        write(&path, three());
        let asked = asked("--follow");
        let mut search = Search {
            filter: Filter::new(&asked),
            output: Output::Json,
            to: Closed,
            unreadable: 0,
        };
        let error = search.run(&path, &asked, || true).unwrap_err();
        assert!(super::super::is_broken_pipe(&error));
    }
}
