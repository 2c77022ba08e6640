use std::sync::Arc;

use swf_filter_core::policy::{Origin, parse};

use super::*;

const SET: &str = "version = 1\n[[set]]\nname = \"s\"\nfile = \"s.txt\"\n";

fn file(name: &str, bytes: &[u8]) -> SourceFile {
    SourceFile {
        name: name.into(),
        bytes: bytes.into(),
    }
}

/// The report on these policy files, and on the set file `s.txt`.
fn report(files: &[SourceFile], set: &[u8]) -> Report {
    let bytes: Arc<[u8]> = set.into();
    let problems = parse(files, &mut |_: &Path| Ok(Arc::clone(&bytes))).unwrap_err();
    let set = file("s.txt", set);
    Report::new(&problems, &[files, &[set]].concat())
}

#[test]
fn a_problem_reads_from_its_place_to_the_way_out() {
    let text = "version = 1\n[[set]]\nname = \"s\"\ncidrs = [\"10.1.2.3/8\"]\n";
    let shown = report(&[file("policy.d/a.toml", text.as_bytes())], b"").to_string();
    let expected = "policy.d/a.toml:4:10: error: `10.1.2.3/8` has host bits set
   ╭────
 4 │ cidrs = [\"10.1.2.3/8\"]
   ·          ──────┬─────
   ·                ╰── here
   ╰────
  help: write `10.0.0.0/8` for the whole prefix, or `10.1.2.3` for the one address
";
    assert_eq!(shown, expected);
}

#[test]
fn a_report_of_many_words_fits_an_entry_of_the_journal() {
    let problem = |line: u32| Shown {
        severity: "error".into(),
        at: Origin {
            file: "a.toml".into(),
            line,
            column: 1,
        },
        message: "\u{20ac}".repeat(1_000),
        help: None,
        other: None,
        drawing: None,
    };
    let mut report = Report {
        problems: (0..10).map(problem).collect(),
        more: 5,
    };
    assert!(report.to_string().ends_with("\n... and 5 more\n"));
    report.problems = (0..1_000).map(problem).collect();
    let text = report.to_string();
    assert!(text.len() < 128 << 10, "{}", text.len());
    let (_, more) = text.rsplit_once("... and ").unwrap();
    let more: usize = more.trim_end_matches(" more\n").parse().unwrap();
    assert_eq!(text.matches("error: ").count() + more, 1_005);
}

#[test]
fn both_places_of_a_problem_are_drawn() {
    let text = b"version = 1\n[[set]]\nname = \"s\"\ncidrs = []\n";
    let files = [file("a.toml", text), file("b.toml", text)];
    let shown = report(&files, b"");
    let line = &shown.problems[0].line();
    assert_eq!(
        line,
        "b.toml:3:8: error: set `s` is defined twice (first defined here at a.toml:3:8)"
    );
    let expected = "b.toml:3:8: error: set `s` is defined twice
   ╭────
 3 │ name = \"s\"
   ·        ─┬─
   ·         ╰── again here
   ╰────
   ╭─[a.toml:3:8]
 3 │ name = \"s\"
   ·        ─┬─
   ·         ╰── first defined here
   ╰────
  help: ";
    let shown = shown.to_string();
    assert!(shown.starts_with(expected), "{shown}");
}

#[test]
fn a_line_of_a_set_file_is_drawn() {
    let set = b"10.0.0.0/8\n  10.0.0.1/8 # office\n";
    let shown = report(&[file("a.toml", SET.as_bytes())], set).to_string();
    let expected = "s.txt:2:3: error: `10.0.0.1/8` has host bits set
   ╭────
 2 │   10.0.0.1/8 # office
";
    assert!(shown.starts_with(expected), "{shown}");
}

#[test]
fn problems_are_set_apart_and_those_left_out_are_counted() {
    let set = "nonsense\n".repeat(10_000);
    let shown = report(&[file("a.toml", SET.as_bytes())], set.as_bytes()).to_string();
    assert!(shown.contains("\n\ns.txt:50:1: error: "), "{shown}");
    assert!(!shown.contains("s.txt:51:"), "{shown}");
    assert!(shown.ends_with("\n\n... and 9950 more\n"), "{shown}");
}

#[test]
fn nothing_of_a_file_reaches_a_terminal_as_a_command() {
    let hostile = "\x1b[2J\u{202e}\u{9b}1m";
    let text = format!(
        "version = 1\n[[set]]\nname = '{hostile}'\ncidrs = [\"{hostile}\"]\n\"{hostile}\" = 1\n"
    );
    // TOML forbids control characters, but not what changes the writing direction.
    let valid = text.replace(['\x1b', '\u{9b}'], "\u{2066}");
    for text in [text, valid] {
        let name = format!("{hostile}.toml");
        let shown = report(&[file(&name, text.as_bytes())], b"");
        assert!(!shown.is_empty());
        let lines: Vec<_> = shown.lines().collect();
        let drawn = format!("{shown}{}", lines.concat());
        let escapes = ['\x1b', '\u{9b}', '\u{202e}', '\u{2066}'];
        assert!(!drawn.contains(escapes), "{drawn:?}");
        assert!(drawn.contains("\\u{202e}"), "{drawn}");
    }
}

#[test]
fn words_of_a_file_are_not_repeated_without_end() {
    let text = SET.replace("s.txt", &"x".repeat(1 << 20));
    let files = [file("a.toml", text.as_bytes())];
    let problems = parse(&files, &mut |_: &Path| Err(io::ErrorKind::NotFound.into())).unwrap_err();
    let shown = Report::new(&problems, &files).to_string();
    assert!(
        shown.starts_with("a.toml:4:8: error: ") && shown.contains("xxx…"),
        "{shown}"
    );
    assert!(shown.len() < 4000, "{shown}");
}

#[test]
fn a_report_travels_as_json() {
    let shown = report(&[file("a.toml", SET.as_bytes())], b"\xff\x1b\n");
    let text = serde_json::to_string(&shown).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), shown);
}

#[test]
fn what_cannot_be_read_comes_with_advice() {
    let cases = [
        (
            Input::PolicyDirectory,
            io::ErrorKind::NotFound,
            "make it, or name another, ",
        ),
        (
            Input::PolicyDirectory,
            io::ErrorKind::NotADirectory,
            "name the directory",
        ),
        (
            Input::PolicyFile,
            io::ErrorKind::PermissionDenied,
            "a user who may read it",
        ),
        (
            Input::PolicyFile,
            io::ErrorKind::InvalidInput,
            "move it away",
        ),
        (Input::Settings, io::ErrorKind::IsADirectory, "a file in it"),
        (Input::Settings, io::ErrorKind::NotFound, "`--config`"),
        (Input::Listener, io::ErrorKind::NotFound, "docs/listener.md"),
    ];
    for (input, kind, advice) in cases {
        let path = Path::new("/etc/\x1b[m");
        let words = Rejected::unreadable(input, path, kind.into()).to_string();
        let start = format!("cannot read {input} `/etc/\\u{{1b}}[m`: ");
        assert!(words.starts_with(&start), "{words}");
        assert!(words.contains(advice), "{words}");
    }
}

#[test]
fn one_is_counted_as_one() {
    assert_eq!(counted(1, "prefix", "prefixes"), "1 prefix");
    assert_eq!(counted(0, "prefix", "prefixes"), "0 prefixes");
}
