use std::fs;
use std::sync::Arc;

use proptest::prelude::*;
use swf_filter_core::policy::{Problems, SourceFile};

use super::*;
use crate::observe::Listen;
use crate::report::Report;
use crate::toml_reader::refusals;

/// What must be there, and no more.
const LEAST: &str = r#"version = 1

[[listener]]
name = "payments"
listen = ["0.0.0.0:443", "[::]:443"]
host = "swf-host"
certificates = [{ chain = "/tls/a.pem", key = "/tls/a.key" }]
upstream = "swf"

[[upstream]]
name = "swf"
addresses = ["https://swf.us-east-1.amazonaws.com"]
identity = "aws"
region = "us-east-1"
"#;

fn read(text: &[u8]) -> Result<Settings, Report> {
    let file = SourceFile {
        name: Arc::from("/etc/listener.toml"),
        bytes: text.into(),
    };
    read::read(Path::new("/etc/listener.toml"), &file)
}

#[test]
fn what_is_left_out_has_its_default() {
    let settings = read(LEAST.as_bytes()).unwrap();
    let listener = Listener {
        name: "payments".into(),
        sockets: ["0.0.0.0:443", "[::]:443"]
            .map(|address| Socket::Address(address.parse().unwrap()))
            .into(),
        host: "swf-host".into(),
        proxy: Proxy::Off,
        certificates: vec![CertificateFiles {
            chain: "/tls/a.pem".into(),
            key: "/tls/a.key".into(),
        }],
        clients: ClientCertificates::Off,
        http: Http::One,
        query_signatures: QuerySignatures::Ignore,
        upstream: 0,
    };
    let upstream = Upstream {
        name: "swf".into(),
        addresses: vec![Uri::from_static("https://swf.us-east-1.amazonaws.com")],
        authorities: None,
        identity: UpstreamIdentity::Aws {
            region: "us-east-1".into(),
        },
    };
    assert_eq!(settings.path, Path::new("/etc/listener.toml"));
    assert_eq!(settings.listeners, [listener]);
    assert_eq!(settings.upstreams, [upstream]);
    assert_eq!(settings.limits, Limits::default());
    assert_eq!(settings.observe, None);
    assert_eq!(settings.paths, Paths::default());
}

#[test]
fn every_field_is_read() {
    let text = r#"version = 1
limits = { connections = 1, connections_per_address = 1_000_000, connections_per_endpoint = 0x10 }

[[upstream]]
name = "first"
addresses = ["http://127.0.0.1:8080", "http://[::1]/", "https://[2001:db8::1]:8443"]
identity = "aws"
region = "eu-central-1"

[[upstream]]
name = "second"
addresses = ["http://inside.example:80", "https://10.0.0.1"]
authorities = "/ca.pem"
identity = "headers"

[[listener]]
name = "a"
listen = ["systemd:a.socket", "192.0.2.1:443", "192.0.2.2:443", "[fe80::1%2]:443"]
host = "host"
proxy = "required"
client_certificates = "required"
client_authorities = "/clients.pem"
http2 = true
query_signatures = true
upstream = "second"
[[listener.certificates]]
chain = "/a.pem"
key = "/a.key"
[[listener.certificates]]
chain = "/b.pem"
key = "/b.key"

[[listener]]
name = "b"
listen = ["127.0.0.1:8443"]
host = "host"
proxy = "off"
certificates = [{ chain = "/b.pem", key = "/b.pem" }]
client_certificates = "optional"
client_authorities = "/clients.pem"
http2 = false
query_signatures = false
upstream = "first"

[observe]
listen = "unix:/f"

[paths]
run = "/a"
listener_run = "/b"
state = "/c"
keys = "/d"
audit = "journal"
"#;
    let settings = read(text.as_bytes()).unwrap_or_else(|report| panic!("{report}"));
    let [first, second] = settings.listeners.as_slice() else {
        panic!("{settings:?}");
    };
    let authorities = PathBuf::from("/clients.pem");
    assert_eq!(first.sockets.len(), 4);
    assert_eq!(first.sockets[0], Socket::Inherited("a.socket".into()));
    assert_eq!(first.proxy, Proxy::Required);
    assert_eq!(
        first.clients,
        ClientCertificates::Required {
            authorities: authorities.clone()
        }
    );
    assert_eq!((first.http, second.http), (Http::Two, Http::One));
    assert_eq!(first.query_signatures, QuerySignatures::Accept);
    assert_eq!(second.query_signatures, QuerySignatures::Ignore);
    assert_eq!((first.upstream, second.upstream), (1, 0));
    assert_eq!(first.certificates.len(), 2);
    assert_eq!(first.certificates[1].key, Path::new("/b.key"));
    assert_eq!(second.proxy, Proxy::Off);
    assert_eq!(second.clients, ClientCertificates::Optional { authorities });
    let [first, second] = settings.upstreams.as_slice() else {
        panic!("{settings:?}");
    };
    assert_eq!(first.addresses.len(), 3);
    assert_eq!(first.addresses[0].port_u16(), Some(8080));
    assert_eq!(second.authorities.as_deref(), Some(Path::new("/ca.pem")));
    assert_eq!(second.identity, UpstreamIdentity::Headers);
    let limits = Limits {
        connections: 1,
        connections_per_address: 1_000_000,
        connections_per_endpoint: 16,
    };
    assert_eq!(settings.limits, limits);
    assert_eq!(settings.observe, Some(Listen::Socket("/f".into())));
    let paths = Paths {
        run: "/a".into(),
        listener_run: "/b".into(),
        state: "/c".into(),
        keys: "/d".into(),
        audit: None,
    };
    assert_eq!(settings.paths, paths);
}

#[test]
fn what_can_be_there_together_is() {
    for listen in [
        "'127.0.0.1:443', '127.0.0.2:443'",
        "'127.0.0.1:443', '127.0.0.1:444', '0.0.0.0:445'",
        "'127.0.0.1:443', '[::]:443'",
        "'systemd:a', 'systemd:b'",
    ] {
        let text = LEAST.replace("\"0.0.0.0:443\", \"[::]:443\"", listen);
        assert!(read(text.as_bytes()).is_ok(), "{listen}");
    }
}

/// Rows of a part of [`LEAST`], of what stands there instead, of what is refused, and of the help.
fn check_refusals(table: &str) {
    refusals::check(table, |cells| {
        let [old, new] = cells else {
            panic!("{cells:?}");
        };
        let old = old.replace(';', "\n");
        assert!(LEAST.contains(&old), "{old}");
        let text = LEAST.replacen(&old, &new.replace(';', "\n"), 1);
        read(text.as_bytes()).expect_err(&text)
    });
}

#[test]
fn a_listener_that_is_wrong_is_refused_where_it_stands() {
    check_refusals(
        r#"
version = 1;          =>                                => 1:1: `version` is missing                        => `version = 1`
version = 1;          => version = 2;                   => 1:11: version `2` is not known                   => `version = 1`
version = 1;          => version = 1;paths = 1;         => 2:9: `paths` takes a table                       =>
version = 1;          => version = 1;zone = 1;          => 2:1: listener.toml has no field `zone`           => `limits`
version = 1;          => version = 1;limit = {};        => 2:1: listener.toml has no field `limit`          => did you mean `limits`?
name = "payments"     =>                                => 3:1: listener without `name`                     => add `name = ...`
name = "payments"     => name = "pay ments"             => 4:8: `pay ments` is not a name of a listener          => 1 to 64 characters
name = "payments"     => name = 7                       => 4:8: `name` takes text in quotes, not an integer =>
name = "payments"     => name = "a";hots = "b"          => 5:1: listener has no field `hots`                => did you mean `host`?
listen = ["0.0.0.0:443", "[::]:443"] =>                 => 3:1: listener without `listen`                   => add `listen
["0.0.0.0:443", "[::]:443"]  => []                      => 5:10: `listen` is empty                          => at least one
["0.0.0.0:443", "[::]:443"]  => "0.0.0.0:443"           => 5:10: `listen` takes a list in `[ ]`             =>
"0.0.0.0:443"         => 443                            => 5:11: `listen` takes text in quotes              =>
"0.0.0.0:443"         => "0.0.0.0"                      => 5:11: `0.0.0.0` cannot be listened on            => write `0.0.0.0:443`
"0.0.0.0:443"         => "2001:db8::1"                  => 5:11: `2001:db8::1` cannot be listened on        => write `[2001:db8::1]:443`
"0.0.0.0:443"         => "localhost:443"                => 5:11: `localhost:443` cannot be listened on      => `[::]:443`
"0.0.0.0:443"         => ":443"                         => 5:11: `:443` cannot be listened on               => `0.0.0.0:443`
"0.0.0.0:443"         => "0.0.0.0:65536"                => 5:11: `0.0.0.0:65536` cannot be listened on      => an IP address and a port
"0.0.0.0:443"         => "0.0.0.0:0"                    => 5:11: `0.0.0.0:0` has port 0                     => 1 to 65535
"0.0.0.0:443"         => "[::ffff:192.0.2.1]:44"        => 5:11: `[::ffff:192.0.2.1]:44` cannot             => write `192.0.2.1:44`
"0.0.0.0:443"         => "systemd:"                     => 5:11: systemd gives no socket the name ``        => `FileDescriptorName=`
"0.0.0.0:443"         => "systemd:a:b"                  => 5:11: systemd gives no socket the name `a:b`     => without `:`
"0.0.0.0:443"         => "[::]:443"                     => 5:23: `[::]:443` is listened on twice            => one listener
"0.0.0.0:443"         => "systemd:a", "systemd:a"       => 5:24: `systemd:a` is listened on twice           => one listener
"0.0.0.0:443"         => "[::1]:443"                    => 5:24: `[::]:443` and `[::1]:443` cannot both     => the kernel refuses
"[::]:443"            => "127.0.0.1:443"                => 5:26: `127.0.0.1:443` and `0.0.0.0:443` cannot both  => the kernel refuses
host = "swf-host"     =>                                => 3:1: listener without `host`                     => add `host
host = "swf-host"     => host = ""                      => 6:8: `` is not a host name                       => 1 to 64 characters
host = "swf-host"     => host = "a";proxy = "on"        => 7:9: `on` is not a value of `proxy`              => `required`
host = "swf-host"     => host = "a";proxy = true        => 7:9: `proxy` takes text in quotes                =>
host = "swf-host"     => host = "a";http2 = "yes"       => 7:9: `http2` takes `true` or `false`             =>
host = "swf-host"     => host = "a";query_signatures = 1  => 7:20: `query_signatures` takes `true`          =>
[{ chain = "/tls/a.pem", key = "/tls/a.key" }] => []    => 7:16: `certificates` is empty                    => at least one
[{ chain = "/tls/a.pem", key = "/tls/a.key" }] => {}    => 7:16: `certificates` takes a list of `{          =>
[{ chain = "/tls/a.pem", key = "/tls/a.key" }] => ["a"] => 7:17: `certificates` takes a list of `{          =>
certificates = [{ chain = "/tls/a.pem", key = "/tls/a.key" }] => => 3:1: listener without `certificates`     => add `certificates
, key = "/tls/a.key"  =>                                => 7:17: certificate without `key`                  => add `key
, key = "/tls/a.key"  => , key = "a.key"                => 7:47: `key` is a relative path                   => such as `/etc/a.key`
chain = "/tls/a.pem"  => chain = ""                     => 7:27: `chain` is empty                           => write a whole path
chain = "/tls/a.pem"  => chain = 7                      => 7:27: `chain` takes text                         =>
chain = "/tls/a.pem"  => chian = "/", chain = "/"       => 7:19: certificate has no field `chian`           => did you mean `chain`?
upstream = "swf"      =>                                => 3:1: listener without `upstream`                 => add `upstream
upstream = "swf"      => upstream = "sfw"               => 8:12: there is no upstream `sfw`                 => did you mean `swf`?
upstream = "swf"      => upstream = "elsewhere"         => 8:12: there is no upstream `elsewhere`           => `[[upstream]]`
host = "swf-host"     => host = "a";client_certificates = "must"      => 7:23: `must` is not a value of `client_certificates` => `required`
host = "swf-host"     => host = "a";client_certificates = "optional"  => 7:23: `client_certificates` without `client_authorities` => add
host = "swf-host"     => host = "a";client_authorities = "/a"         => 7:22: `client_authorities` without  => take `client_authorities` away
host = "swf-host"     => host = "a";client_authorities = "/a";client_certificates = "off" => 7:22: `client_authorities` without => add that
host = "swf-host"     => host = "a";client_authorities = "a";client_certificates = "required" => 7:22: `client_authorities` is a relative => `/etc/a`
"#,
    );
}

#[test]
fn an_upstream_that_is_wrong_is_refused_where_it_stands() {
    check_refusals(
        r#"
name = "swf"          => name = "sw/f"                  => 11:8: `sw/f` is not a name of an upstream        => 1 to 64 characters
addresses = ["https://swf.us-east-1.amazonaws.com"] =>  => 10:1: upstream without `addresses`               => add `addresses
["https://swf.us-east-1.amazonaws.com"] => []           => 12:13: `addresses` is empty                      => at least one
"https://swf.us-east-1.amazonaws.com" => 7              => 12:14: `addresses` takes text in quotes          =>
//swf.us-east-1.amazonaws.com => //swf/path             => 12:14: `https://swf/path` is not the address of an upstream: it has a path => nothing more
//swf.us-east-1.amazonaws.com => //swf/?a=b             => 12:14: `https://swf/?a=b` is not the address of an upstream: it has a query => nothing more
//swf.us-east-1.amazonaws.com => //swf#a                => 12:14: `https://swf#a` is not the address of an upstream: it has a query or a fragment => nothing more
//swf.us-east-1.amazonaws.com => //me:pass@swf          => 12:14: `https://me:pass@swf` is not the address of an upstream: it names a user => nothing more
//swf.us-east-1.amazonaws.com => //swf:                 => 12:14: `https://swf:` is not the address of an upstream: its port => nothing more
//swf.us-east-1.amazonaws.com => //swf:65536            => 12:14: `https://swf:65536` is not the address of an upstream: its port => nothing more
//swf.us-east-1.amazonaws.com => //swf:0                => 12:14: `https://swf:0` has port 0                => 1 to 65535
//swf.us-east-1.amazonaws.com => //a..b                 => 12:14: `https://a..b` is not the address of an upstream: its host => nothing more
//swf.us-east-1.amazonaws.com => //300.1.1.1            => 12:14: `https://300.1.1.1` is not the address of an upstream: its host => nothing more
//swf.us-east-1.amazonaws.com => //[swf]                => 12:14: `https://[swf]` is not the address of an upstream: its host => nothing more
//swf.us-east-1.amazonaws.com => //                     => 12:14: `https://` is not the address of an upstream: it is not a URI => nothing more
//swf.us-east-1.amazonaws.com => //s wf                 => 12:14: `https://s wf` is not the address of an upstream: it is not a URI => nothing more
https://swf.us        => swf.us                         => 12:14: `swf.us-east-1.amazonaws.com` is not the address of an upstream: it does not begin => `https://`
https://swf.us        => ftp://swf.us                   => 12:14: `ftp://swf.us-east-1.amazonaws.com` is not the address of an upstream: it does not begin => `https://`
https://swf.us        => http://swf.us                  => 12:14: what is signed with AWS credentials would go to `http://swf.us-east-1.amazonaws.com` without TLS => `http://127.0.0.1:8080`
https://swf.us-east-1.amazonaws.com => http://10.0.0.1  => 12:14: what is signed with AWS credentials       => write `https://`
https://swf.us-east-1.amazonaws.com => http://localhost => 12:14: what is signed with AWS credentials       => this machine only
https://swf.us-east-1.amazonaws.com => http://[::2]     => 12:14: what is signed with AWS credentials       => this machine only
"https://swf.us-east-1.amazonaws.com" => "https://a", "https://A" => 12:27: `https://A` is an address of this upstream twice => take one of them
identity = "aws"      =>                                => 10:1: upstream without `identity`                => add `identity
identity = "aws"      => identity = "iam"               => 13:12: `iam` is not a value of `identity`        => write one of `aws`, `headers`
identity = "aws"      => identity = "headers"           => 14:10: `region` without `identity = "aws"`       => take `region` away
region = "us-east-1"  =>                                => 10:1: `identity = "aws"` without `region`        => add `region
region = "us-east-1"  => region = "US East"             => 14:10: `US East` is not a region                 => `us-east-1`
region = "us-east-1"  => region = "us-east-1";authorities = "ca.pem" => 15:15: `authorities` is a relative path => `/etc/ca.pem`
https://swf.us-east-1.amazonaws.com"];identity = "aws" => http://127.0.0.1"];authorities = "/a";identity = "aws" => 13:15: `authorities` without an address that begins with `https://` => take `authorities` away
region = "us-east-1"; => region = "us-east-1";[[upstream]];name = "swf";addresses = ["https://b"];identity = "headers"; => 16:8: upstream `swf` is defined twice => rename
[[upstream]]          => [upstream]                     => 10:1: `upstream` takes tables, each headed       =>
"#,
    );
}

#[test]
fn limits_and_paths_that_are_wrong_are_refused_where_they_stand() {
    check_refusals(
        r#"
version = 1;          => version = 1;observe = { listen = "192.0.2.1:9465" };          => 2:22: `192.0.2.1:9465` is no loopback address => asks for no password
version = 1;          => version = 1;observe = { listen = "unix:/a", rules = 1 };      => 2:33: `[observe]` has no field `rules`         => `listen`
version = 1;          => version = 1;limits = 1;        => 2:10: `limits` takes a table                     =>
version = 1;          => version = 1;limits.rate = 1;   => 2:8: `[limits]` has no field `rate`              => `connections_per_address`
version = 1;          => version = 1;limits.connections = 0;         => 2:22: `0` is not a number of connections        => from 1 to 1000000
version = 1;          => version = 1;limits.connections = 1_000_001; => 2:22: `1_000_001` is not a number of connections => from 1 to 1000000
version = 1;          => version = 1;limits.connections = "many";    => 2:22: `connections` takes a whole number        =>
version = 1;          => version = 1;paths.runs = "/a";              => 2:7: `[paths]` has no field `runs`              => did you mean `run`?
version = 1;          => version = 1;paths.keys = "keys";            => 2:14: `paths.keys` is a relative path           => `/etc/keys`
version = 1;          => version = 1;paths.audit = "";               => 2:15: `paths.audit` is empty                    => leave the field out
version = 1;          => version = 1;paths.audit = "Journal";        => 2:15: `paths.audit` is a relative path          => `/etc/Journal`
version = 1;          => version = 1;paths.audit = false;            => 2:15: `paths.audit` takes text in quotes        =>
"#,
    );
}

#[test]
fn a_file_without_blocks_is_refused() {
    let report = read(
        b"version = 1
listener = []
",
    )
    .unwrap_err();
    let messages: Vec<_> = report
        .problems
        .iter()
        .map(|problem| problem.message.as_str())
        .collect();
    assert_eq!(messages, ["`upstream` is missing", "`listener` is empty"]);
}

#[test]
fn all_that_is_wrong_is_reported_in_the_order_of_the_file() {
    let text = LEAST
        .replace("443\"]", "x\"]")
        .replace("swf-host", "")
        .replace("us-east-1\"", "\"");
    let report = read(text.as_bytes()).unwrap_err();
    let places = report.problems.iter().map(|problem| problem.at.line);
    assert_eq!(places.collect::<Vec<_>>(), [5, 6, 14], "{report}");
}

#[test]
fn what_is_there_twice_is_drawn_at_both_places() {
    let text = LEAST.replace("\"[::]:443\"", "\"127.0.0.1:443\"");
    let report = read(text.as_bytes()).unwrap_err();
    let (label, origin) = refusals::only(&report).other.unwrap();
    assert_eq!(
        (label.as_str(), origin.to_string().as_str()),
        ("the other is here", "/etc/listener.toml:5:11")
    );
}

#[test]
fn what_is_wrong_without_end_is_reported_in_part() {
    let sockets = "\"[::]:443\",".repeat(20_000);
    let text = LEAST.replace("\"[::]:443\"", &sockets);
    let report = read(text.as_bytes()).unwrap_err();
    assert_eq!(report.problems.len(), Problems::KEPT);
    assert_eq!(report.problems.len() + report.more, 19_999);
}

#[test]
fn a_file_that_is_not_there_comes_with_advice() {
    let error = Settings::load(Path::new("/nowhere/listener.toml")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the listener's settings `/nowhere/listener.toml`: there is no such file; docs/listener.md says what to write into it"
    );
}

#[test]
fn the_example_of_the_reference_is_right_and_its_limits_and_paths_are_the_defaults() {
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/listener.md");
    let text = fs::read_to_string(reference).unwrap();
    let (_, example) = text.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let settings = read(example.as_bytes()).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(settings.limits, Limits::default());
    assert_eq!(settings.paths, Paths::default());
}

proptest! {
    /// Whatever is written over a right file: it is read, or refused with a reason.
    #[test]
    fn no_file_is_read_with_a_panic(
        edits in prop::collection::vec((0..LEAST.len(), 0..12usize, "[\\x00-\\x7fä]{0,6}"), 1..6),
        byte in any::<Option<(prop::sample::Index, u8)>>(),
    ) {
        let mut text = LEAST.as_bytes().to_vec();
        for (start, length, new) in edits {
            let start = start.min(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, new.bytes());
        }
        if let Some((index, byte)) = byte && !text.is_empty() {
            let index = index.index(text.len());
            text[index] = byte;
        }
        if let Err(report) = read(&text) {
            prop_assert!(!report.is_empty());
            prop_assert!(!report.to_string().is_empty());
        }
    }

    /// The same for text in quotes, which passes TOML.
    #[test]
    fn no_socket_or_address_is_read_with_a_panic(
        socket in "(systemd:)?[0-9a-z\\[\\]:.%äß]{0,20}",
        address in "(https?://)?[0-9a-z\\[\\]:.@/?#%äß-]{0,20}",
    ) {
        let text = LEAST.replace("0.0.0.0:443", &socket);
        let text = text.replace("https://swf.us-east-1.amazonaws.com", &address);
        if let Ok(settings) = read(text.as_bytes()) {
            prop_assert_eq!(settings.listeners[0].sockets.len(), 2);
            prop_assert!(settings.upstreams[0].addresses[0].host().is_some());
        }
    }
}
