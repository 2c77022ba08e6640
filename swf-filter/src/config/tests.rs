use std::fs;
use std::sync::Arc;

use swf_filter_core::policy::{Problems, SourceFile};

use super::*;
use crate::observe::{Dashboard, Listen, Observe};
use crate::report::Report;
use crate::toml_reader::refusals;

fn read(text: &[u8]) -> Result<Config, Report> {
    let file = SourceFile {
        name: Arc::from("/etc/config.toml"),
        bytes: text.into(),
    };
    read::read(Path::new("/etc/config.toml"), &file)
}

/// The only problem of `text`.
fn refusal(text: &[u8]) -> crate::report::Shown {
    refusals::only(&read(text).expect_err(&String::from_utf8_lossy(text)))
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = read(b"version = 1\ninterfaces = ['eth0']\n").unwrap();
    assert_eq!(config.xdp_mode, XdpMode::Auto);
    assert_eq!(config.engine, EngineChoice::Auto);
    assert_eq!(config.on_boot_failure, OnBootFailure::Refuse);
    assert_eq!(config.events_per_second, 100);
    assert_eq!(config.history, 20);
    assert!(!config.trace && config.always_allow.is_empty());
    assert_eq!(config.observe, None);
    assert_eq!(config.paths, Paths::default());
}

#[test]
fn every_field_is_read() {
    let config = read(
        b"version = 1\ninterfaces = ['eth0', 'swf*']\nxdp_mode = 'generic'\nengine = 'lpm-trie'\nalways_allow = ['192.0.2.1']\n\
          on_boot_failure = 'drop'\nevents_per_second = 1_000_000\nhistory = 1000\ntrace = true\n\
          [observe]\nlisten = '[::1]:9464'\ndashboard = true\nrules = 7\nlistener = '/e'\n\
          [paths]\npolicy = '/a'\nbpf = '/b'\nrun = '/c'\nstate = '/d'\n",
    )
    .unwrap();
    assert!(config.names("eth0") && config.names("swf12") && !config.names("eth1"));
    assert_eq!(config.xdp_mode, XdpMode::Generic);
    assert_eq!(config.engine, EngineChoice::LpmTrie);
    assert_eq!(
        config.always_allow[0].origin.to_string(),
        "/etc/config.toml:5:17"
    );
    assert_eq!(config.on_boot_failure, OnBootFailure::Drop);
    assert_eq!(config.events_per_second, 1_000_000);
    assert_eq!(config.history, 1_000);
    assert!(config.trace);
    let observe = Observe {
        listen: Listen::Address("[::1]:9464".parse().unwrap()),
        dashboard: Dashboard::On,
        rules: 7,
        listener: Some("/e".into()),
    };
    assert_eq!(config.observe, Some(observe));
    let paths = Paths {
        policy: "/a".into(),
        bpf: "/b".into(),
        run: "/c".into(),
        state: "/d".into(),
    };
    assert_eq!(config.paths, paths);
}

/// Rows of a file's end, with `;` between lines, of what is refused, and of the help.
fn check_refusals(before: &str, table: &str) {
    refusals::check(table, |cells| {
        let text = format!("{before}{}", cells.concat().replace(';', "\n"));
        read(text.as_bytes()).expect_err(&text)
    });
}

#[test]
fn what_is_wrong_is_refused_where_it_stands() {
    let before = "version = 1\ninterfaces = ['eth0']\n";
    check_refusals(
        before,
        r#"
xdp_mod = 'auto'                 => 3:1: config.toml has no field `xdp_mod`                 => did you mean `xdp_mode`?
zzz = 1                          => 3:1: config.toml has no field `zzz`                     => write one of `version`, `
xdp_mode = 'drver'               => 3:12: `drver` is not a value of `xdp_mode`              => did you mean `driver`?
xdp_mode = ''                    => 3:12: `` is not a value of `xdp_mode`                   => `auto`, `driver`, `generic`
engine = 'lpm'                   => 3:10: `lpm` is not a value of `engine`                  => `auto`, `compiled`, `lpm-trie`
on_boot_failure = 'Drop'         => 3:19: `Drop` is not a value of `on_boot_failure`        => did you mean `drop`?
trace = 'yes'                    => 3:9: `trace` takes `true` or `false`                    =>
paths = '/etc'                   => 3:9: `paths` takes a table, headed by `[paths]`         =>
events_per_second = -1           => 3:21: `-1` is not a number of events a second           => from 0, for none, to 1000000
events_per_second = 1_000_001    => 3:21: `1_000_001` is not a number of events a second    => 1000000
events_per_second = 0xf_ffff_ffff_ffff_ffff => 3:21: `0xf_ffff_ffff_ffff_ffff` is not       => 1000000
events_per_second = 1.5          => 3:21: `events_per_second` takes a whole number          =>
history = 0                      => 3:11: `0` is not a number of policies to keep           => from 1 to 1000
history = 1001                   => 3:11: `1001` is not a number of policies to keep        => from 1 to 1000
always_allow = '10.0.0.0/8'      => 3:16: `always_allow` takes a list in `[ ]`, not a string  =>
always_allow = [7]               => 3:17: `always_allow` takes text in quotes, not an integer =>
always_allow = ['10.0.0.1/8']    => 3:17: `10.0.0.1/8` has host bits set                    => write `10.0.0.0/8`
always_allow = ['set:a']         => 3:17: `set:a` cannot stand in `always_allow`            => addresses
[paths];rum = '/run'             => 4:1: `[paths]` has no field `rum`                       => did you mean `run`?
[paths];run = 7                  => 4:7: `paths.run` takes text in quotes                   =>
[paths];run = 'run/x'            => 4:7: `paths.run` is a relative path                     => such as `/etc/run/x`
[paths];state = ''               => 4:9: `paths.state` is empty                             => leave the field out
[paths];bpf = "/a\u0000"         => 4:7: `paths.bpf` is empty, or has a zero byte in it     => whole path
[observe]                        => 3:1: `observe.listen` is missing                        => `listen = "127.0.0.1:9464"`
observe = 7                      => 3:11: `observe` takes a table, headed by `[observe]`    =>
[observe];listen = '127.0.0.1:1';page = 1  => 5:1: `[observe]` has no field `page`          => `dashboard`
[observe];listen = 7             => 4:10: `observe.listen` takes text in quotes             =>
[observe];listen = '0.0.0.0:9464'   => 4:10: `0.0.0.0:9464` is no loopback address          => asks for no password
[observe];listen = '[::]:9464'   => 4:10: `[::]:9464` is no loopback address                => asks for no password
[observe];listen = '192.0.2.1:9464' => 4:10: `192.0.2.1:9464` is no loopback address        => asks for no password
[observe];listen = 'localhost:9464' => 4:10: `localhost:9464` is neither a loopback address => `127.0.0.1:9464`
[observe];listen = '127.0.0.1'   => 4:10: `127.0.0.1` is neither a loopback address         => `127.0.0.1:9464`
[observe];listen = '127.0.0.1:0' => 4:10: `127.0.0.1:0` is neither a loopback address       => `127.0.0.1:9464`
[observe];listen = 'unix:a'      => 4:10: `unix:a` is neither                               => `unix:/run/swf-filter/observe.sock`
[observe];listen = '127.0.0.1:1';rules = 10_001    => 5:9: `10_001` is not a number of rules => from 0 to 10000
[observe];listen = '127.0.0.1:1';listener = 'x'    => 5:12: `observe.listener` is a relative path => `/etc/x`
[observe];listen = '127.0.0.1:1';dashboard = 1     => 5:13: `observe.dashboard` takes `true` or `false` =>
version = 1                      => 3:1: not valid TOML: duplicate key                      =>
trace =                          => 3:8: not valid TOML:                                    =>
trace = tru                      => 3:9: not valid TOML:                                    =>
"#,
    );
}

#[test]
fn a_version_or_interfaces_that_are_wrong_are_refused_where_they_stand() {
    check_refusals(
        "",
        r#"
interfaces = ['a']                        => 1:1: `version` is missing                      => write `version = 1` as the first line
version = 2;interfaces = ['a']            => 1:11: version `2` is not known                 => reads `version = 1`
version = '1';interfaces = ['a']          => 1:11: version `'1'` is not known               => reads `version = 1`
version = 1                               => 1:1: `interfaces` is missing                   => add `interfaces = ["eth0"]`
version = 1;interfaces = []               => 2:14: `interfaces` is empty                    => at least one
version = 1;interfaces = 'eth0'           => 2:14: `interfaces` takes a list in `[ ]`       =>
version = 1;interfaces = ['a', 1]         => 2:20: `interfaces` takes text in quotes        =>
version = 1;interfaces = ['äeth[0']       => 2:20: `äeth[0` is not a glob: a `[` is not closed  => `[abc]`
version = 1;interfaces = ["\u0061[0"]     => 2:15: `a[0` is not a glob                      => `[abc]`
version = 1;interfaces = ['eth**']        => 2:19: `eth**` is not a glob: stars in a row    => one `*`
version = 1;interfaces = ['a', '***']     => 2:21: `***` is not a glob: stars in a row      => one `*`
version = 1;interfaces = ['']             => 2:15: no interface can be called ``            => 1 to 15 bytes
version = 1;interfaces = ['abcdefghijklmnop']        => 2:15: no interface can be called `abcdefghijklmnop`  => 1 to 15 bytes
version = 1;interfaces = ['*abcdefghijklm[no]?p']    => 2:15: no interface can be called                     => 1 to 15 bytes
version = 1;interfaces = ['eth0:1']       => 2:15: no interface can be called `eth0:1`      => `:`
version = 1;interfaces = ['net/eth0']     => 2:15: no interface can be called `net/eth0`    => `/`
"#,
    );
}

#[test]
fn names_and_globs_of_the_greatest_length_are_taken() {
    for pattern in [
        "abcdefghijklmno",
        "*abcdefghijklmn?*",
        "[!]abcdefghijk]bcdefghijklmno",
    ] {
        let text = format!("version = 1\ninterfaces = ['{pattern}']\n");
        assert!(read(text.as_bytes()).is_ok(), "{pattern}");
    }
}

#[test]
fn all_that_is_wrong_is_reported_in_the_order_of_the_file() {
    let report = read(
        b"trace = 1\nversion = 1\nxdp_mode = 'x'\ninterfaces = ['a', '[', '***']\nalways_allow = ['x', '10.0.0.0/8', 'y']\n\
          [paths]\nrun = 'x'\n",
    )
    .unwrap_err();
    let places: Vec<_> = report
        .problems
        .iter()
        .map(|problem| (problem.at.line, problem.at.column))
        .collect();
    let expected = [(1, 9), (3, 12), (4, 21), (4, 26), (5, 17), (5, 36), (7, 7)];
    assert_eq!(places, expected, "{report}");
}

#[test]
fn only_the_first_of_many_problems_are_kept() {
    let text = (0..10_000).fold(String::new(), |text, number| {
        text + &format!("x{number} = 1\n")
    });
    let report = read(text.as_bytes()).unwrap_err();
    assert_eq!(report.problems.len(), Problems::KEPT);
    assert_eq!(report.problems.len() + report.more, 10_002);

    let text = format!("always_allow = [{}]", "'x',".repeat(10_000));
    let report = read(text.as_bytes()).unwrap_err();
    assert_eq!(report.problems.len() + report.more, 10_002);
}

#[test]
fn bytes_that_are_not_text_are_named() {
    let problem = refusal(b"version = 1\n# \xc3\xa4 \xff\xfe\n");
    assert_eq!((problem.at.line, problem.at.column), (2, 5), "{problem}");
    assert_eq!(problem.message, "this is not UTF-8 text");
    assert!(problem.drawing.unwrap().contains(r"# ä \xff\xfe"));
}

#[test]
fn a_file_that_is_too_long_is_refused_and_one_byte_less_is_read() {
    let mut text = b"version = 1\ninterfaces = ['a']\n#".to_vec();
    text.resize(MAX_BYTES, b'x');
    assert!(read(&text).is_ok());
    text.push(b'x');
    let problem = refusal(&text);
    assert_eq!(problem.message, "more than 1048576 bytes in config.toml");
    assert!(problem.to_string().len() < 2000, "{problem}");
}

#[test]
fn a_file_that_is_not_there_comes_with_advice() {
    let error = Config::load(Path::new("/nowhere/config.toml")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the settings `/nowhere/config.toml`: there is no such file; write it, or name another with `--config`"
    );
}

#[test]
fn the_example_of_the_reference_is_right() {
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/policy.md");
    let text = fs::read_to_string(reference).unwrap();
    let (_, section) = text.split_once("## config.toml").unwrap();
    let (_, example) = section.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let config = read(example.as_bytes()).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(config.paths, Paths::default());
    assert_eq!(
        config.observe.unwrap().rules,
        crate::observe::settings::RULES
    );
}
