//! From the text of listener.toml to [`Settings`], or to everything that is wrong with it.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::Uri;
use hyper::http::uri::Scheme;
use rustls::pki_types::ServerName;
use swf_filter_core::policy::fault::nearest;
use swf_filter_core::policy::parse::is_name;
use swf_filter_core::policy::{self, SourceFile};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, ServerProblem};
use super::{
    CertificateFiles, ClientCertificates, Http, Limits, Listener, MAX_CONNECTIONS, Paths, Proxy,
    QuerySignatures, Settings, Socket, Upstream, UpstreamIdentity,
};
use crate::config::IFNAMSIZ;
use crate::observe;
use crate::report::Report;
use crate::toml_reader::{self, Reader, Section, Value};

const TOP: Section = Section {
    title: "listener.toml",
    fields: &[
        "version", "listener", "upstream", "limits", "observe", "paths",
    ],
};

const LISTENER: Section = Section {
    title: "listener",
    fields: &[
        "name",
        "listen",
        "host",
        "proxy",
        "certificates",
        "client_certificates",
        "client_authorities",
        "http2",
        "query_signatures",
        "upstream",
    ],
};

const CERTIFICATE: Section = Section {
    title: "certificate",
    fields: &["chain", "key"],
};

const UPSTREAM: Section = Section {
    title: "upstream",
    fields: &["name", "addresses", "authorities", "identity", "region"],
};

const LIMITS: Section = Section {
    title: "`[limits]`",
    fields: &[
        "connections",
        "connections_per_address",
        "connections_per_endpoint",
    ],
};

const PATHS: Section = Section {
    title: "`[paths]`",
    fields: &["run", "listener_run", "state", "keys", "audit"],
};

/// In `paths.audit`: no file.
const JOURNAL: &str = "journal";

/// Reads `file`, which was found at `path`.
pub(super) fn read(path: &Path, file: &SourceFile) -> Result<Settings, Report> {
    toml_reader::read(path, file, &TOP, |reader, fields| {
        let upstreams = blocks(reader, "upstream", &UPSTREAM, fields);
        let listeners = blocks(reader, "listener", &LISTENER, fields);
        // What is broken still has its name and its place among the others, so that nothing else is reported because of it.
        let (upstreams, names) = read_blocks(reader, &upstreams, "name of an upstream", upstream);
        let mut sockets = Sockets::default();
        let (listeners, _) = read_blocks(
            reader,
            &listeners,
            "name of a listener",
            |reader, block, name| listener(reader, block, name, &names, &mut sockets),
        );
        Settings {
            path: path.to_owned(),
            listeners,
            upstreams,
            limits: limits(reader, fields.get("limits")),
            observe: observe::settings::read(
                reader,
                &observe::settings::OF_LISTENER,
                fields.get("observe"),
            )
            .map(|observe| observe.listen),
            paths: paths(reader, fields.get("paths")),
        }
    })
}

/// One table of a kind.
struct Block<'a> {
    section: &'static Section,
    fields: &'a DeTable<'a>,
    /// Its header, or its opening brace.
    span: Range<usize>,
}

impl<'a> Block<'a> {
    fn get(&self, field: &str) -> Option<&'a Value<'a>> {
        self.fields.get(field)
    }

    fn require(&self, reader: &mut Reader<'_>, field: &'static str) -> Option<&'a Value<'a>> {
        let value = self.get(field);
        if value.is_none() {
            let section = self.section;
            reader.report(&Fault::MissingField { section, field }, self.span.clone());
        }
        value
    }

    fn require_text(
        &self,
        reader: &mut Reader<'_>,
        field: &'static str,
    ) -> Option<Spanned<String>> {
        let value = self.require(reader, field)?;
        reader.text(field, value)
    }

    /// The texts of a list, one at least.
    fn require_texts(&self, reader: &mut Reader<'_>, field: &'static str) -> Vec<Spanned<String>> {
        let list = self.require(reader, field);
        if let Some(list) = list {
            reader.refuse_empty(field, list);
        }
        reader.texts(field, list)
    }

    /// A name of the usual form.
    fn require_name(
        &self,
        reader: &mut Reader<'_>,
        field: &'static str,
        what: &'static str,
    ) -> Option<Spanned<String>> {
        let text = self.require_text(reader, field)?;
        if !is_name(text.get_ref()) {
            let name = text.get_ref().clone();
            reader.report(&policy::Fault::Name { what, name }, text.span());
            return None;
        }
        Some(text)
    }

    fn require_path(&self, reader: &mut Reader<'_>, field: &'static str) -> Option<PathBuf> {
        let value = self.require(reader, field)?;
        reader.path(field, value)
    }
}

/// The tables that are headed by `[[field]]`, one at least.
fn blocks<'a>(
    reader: &mut Reader<'_>,
    field: &'static str,
    section: &'static Section,
    top: &'a DeTable<'a>,
) -> Vec<Block<'a>> {
    let list = top.get(field);
    let help = "add a block with its name in `[[ ]]`; docs/listener.md says what stands in it";
    reader.require_items(field, list, help);
    let expected = "tables, each headed by its name in `[[ ]]`";
    tables(reader, field, expected, section, list)
}

fn tables<'a>(
    reader: &mut Reader<'_>,
    field: &'static str,
    expected: &'static str,
    section: &'static Section,
    list: Option<&'a Value<'a>>,
) -> Vec<Block<'a>> {
    let items = reader.items(field, expected, list).iter();
    let tables = items.filter_map(|item| {
        Some(Block {
            section,
            fields: reader.table(field, expected, section, Some(item))?,
            span: item.span(),
        })
    });
    tables.collect()
}

/// The indices of blocks, by their names.
type Names = HashMap<String, usize>;

/// Reads each of `blocks` with its name, which is its own.
fn read_blocks<T>(
    reader: &mut Reader<'_>,
    blocks: &[Block<'_>],
    what: &'static str,
    mut read: impl FnMut(&mut Reader<'_>, &Block<'_>, Arc<str>) -> T,
) -> (Vec<T>, Names) {
    let (mut names, mut places) = (Names::new(), HashMap::new());
    let read = blocks.iter().enumerate().map(|(index, block)| {
        let name = block.require_name(reader, "name", what);
        if let Some(text) = &name {
            let (section, name) = (block.section, text.get_ref().clone());
            let fault = Fault::NameTwice { section, name };
            refuse_second(reader, &mut places, text.get_ref().clone(), text, &fault);
            names.entry(text.get_ref().clone()).or_insert(index);
        }
        let name = name.map(Spanned::into_inner).unwrap_or_default();
        read(reader, block, name.into())
    });
    (read.collect(), names)
}

/// Reports `fault` at `text` if `key` was there before.
fn refuse_second<K: Eq + Hash>(
    reader: &mut Reader<'_>,
    places: &mut HashMap<K, Range<usize>>,
    key: K,
    text: &Spanned<String>,
    fault: &Fault,
) {
    match places.get(&key) {
        Some(first) => reader.report_beside(fault, text.span(), first.clone()),
        None => {
            places.insert(key, text.span());
        }
    }
}

fn listener(
    reader: &mut Reader<'_>,
    block: &Block<'_>,
    name: Arc<str>,
    upstreams: &Names,
    sockets: &mut Sockets,
) -> Listener {
    let listen = block.require_texts(reader, "listen");
    let host = block.require_name(reader, "host", "host name");
    let proxy = block.get("proxy");
    let proxies = [Proxy::Off, Proxy::Required];
    let proxy = reader.choice("proxy", proxy, &["off", "required"], &proxies);
    let http = match reader.switch("http2", block.get("http2")) {
        Some(true) => Http::Two,
        _ => Http::One,
    };
    let query_signatures = block.get("query_signatures");
    let query_signatures = match reader.switch("query_signatures", query_signatures) {
        Some(true) => QuerySignatures::Accept,
        _ => QuerySignatures::Ignore,
    };
    Listener {
        name,
        sockets: listen
            .iter()
            .filter_map(|text| sockets.read(reader, text))
            .collect(),
        host: host.map(Spanned::into_inner).unwrap_or_default().into(),
        proxy: proxy.unwrap_or_default(),
        certificates: certificates(reader, block),
        clients: clients(reader, block),
        http,
        query_signatures,
        upstream: upstream_of(reader, block, upstreams),
    }
}

/// Sockets of all listeners, to find those that cannot be there together.
#[derive(Default)]
struct Sockets {
    places: HashMap<Socket, Range<usize>>,
    /// The first address with each family and port.
    ports: HashMap<(bool, u16), SocketAddr>,
}

impl Sockets {
    fn read(&mut self, reader: &mut Reader<'_>, text: &Spanned<String>) -> Option<Socket> {
        let socket = match socket(text.get_ref()) {
            Ok(socket) => socket,
            Err(fault) => {
                reader.report(&fault, text.span());
                return None;
            }
        };
        if let Socket::Address(address) = socket
            && let Some((other, place)) = self.overlapping(address)
        {
            let (socket, other) = (socket.clone(), Socket::Address(other));
            let fault = Fault::SocketsOverlap { socket, other };
            reader.report_beside(&fault, text.span(), place);
        }
        let twice = Fault::SocketTwice {
            socket: socket.clone(),
        };
        refuse_second(reader, &mut self.places, socket.clone(), text, &twice);
        Some(socket)
    }

    /// An earlier address that the kernel takes for the same as `address`, though another: of the two, one is unspecified
    /// (`inet_csk_get_port` in `net/ipv4/inet_connection_sock.c`).
    fn overlapping(&mut self, address: SocketAddr) -> Option<(SocketAddr, Range<usize>)> {
        let unspecified: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let port = (address.is_ipv4(), address.port());
        let first = *self.ports.entry(port).or_insert(address);
        let other = if address.ip().is_unspecified() {
            first
        } else {
            SocketAddr::new(unspecified, address.port())
        };
        let place = self.places.get(&Socket::Address(other))?;
        (other != address).then(|| (other, place.clone()))
    }
}

fn socket(text: &str) -> Result<Socket, Fault> {
    let found = text.to_owned();
    if let Some(name) = text.strip_prefix("systemd:") {
        let printable = name.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if name.is_empty() || name.len() > FDNAME_MAX || !printable || name.contains(':') {
            let found = name.to_owned();
            return Err(Fault::SystemdName { found });
        }
        return Ok(Socket::Inherited(name.into()));
    }
    let (text, device) = match text.rsplit_once('%') {
        // In brackets, it is the zone of an IPv6 address.
        Some((text, device)) if !device.contains(']') => (text, Some(device)),
        _ => (text, None),
    };
    let Ok(address) = text.parse::<SocketAddr>() else {
        let address = text.parse::<IpAddr>().ok();
        let meant = address.map(|address| SocketAddr::new(address.to_canonical(), 443).to_string());
        return Err(Fault::NotSocket { found, meant });
    };
    let canonical = address.ip().to_canonical();
    if canonical != address.ip() {
        let meant = Some(SocketAddr::new(canonical, address.port()).to_string());
        return Err(Fault::NotSocket { found, meant });
    }
    if address.port() == 0 {
        return Err(Fault::PortZero { found });
    }
    match device {
        None => Ok(Socket::Address(address)),
        Some(device) if is_device(device) => Ok(Socket::Device {
            address,
            device: device.into(),
        }),
        Some(device) => Err(Fault::Device {
            found: device.to_owned(),
        }),
    }
}

/// Whether the kernel would take a name (`dev_valid_name` in net/core/dev.c).
fn is_device(name: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':');
    !name.is_empty() && name.len() < IFNAMSIZ && name.bytes().all(valid)
}

fn certificates(reader: &mut Reader<'_>, block: &Block<'_>) -> Vec<CertificateFiles> {
    let field = "certificates";
    let list = block.require(reader, field);
    if let Some(list) = list {
        reader.refuse_empty(field, list);
    }
    let expected = "a list of `{ chain = ..., key = ... }`";
    let tables = tables(reader, field, expected, &CERTIFICATE, list);
    let certificates = tables.iter().filter_map(|table| {
        let chain = table.require_path(reader, "chain");
        let key = table.require_path(reader, "key");
        Some(CertificateFiles {
            chain: chain?,
            key: key?,
        })
    });
    certificates.collect()
}

fn clients(reader: &mut Reader<'_>, block: &Block<'_>) -> ClientCertificates {
    let (field, needs) = (
        "client_authorities",
        "`client_certificates = \"optional\"` or `\"required\"`",
    );
    let value = block.get("client_certificates");
    let words = &["off", "optional", "required"];
    let written = value.is_some();
    let choice = reader.choice("client_certificates", value, words, words);
    let authorities = block.get(field);
    let path = authorities.and_then(|value| reader.path(field, value));
    match (choice, authorities, path) {
        (Some("optional"), _, Some(authorities)) => ClientCertificates::Optional { authorities },
        (Some("required"), _, Some(authorities)) => ClientCertificates::Required { authorities },
        (Some("optional" | "required"), None, None) => {
            let needed_by = "`client_certificates`";
            let span = value.map(Spanned::span).unwrap_or_default();
            reader.report(&Fault::Lacking { field, needed_by }, span);
            ClientCertificates::Off
        }
        (choice, Some(authorities), _) if choice == Some("off") || !written => {
            reader.report(&Fault::Superfluous { field, needs }, authorities.span());
            ClientCertificates::Off
        }
        _ => ClientCertificates::Off,
    }
}

/// The index of the upstream that a listener names.
fn upstream_of(reader: &mut Reader<'_>, block: &Block<'_>, upstreams: &Names) -> usize {
    let Some(text) = block.require_text(reader, "upstream") else {
        return 0;
    };
    let index = upstreams.get(text.get_ref()).copied();
    // Without any, what is wrong was said already.
    if index.is_none() && !upstreams.is_empty() {
        let name = text.get_ref().clone();
        let nearest = nearest(&name, upstreams.keys().map(String::as_str)).map(String::from);
        reader.report(&Fault::UnknownUpstream { name, nearest }, text.span());
    }
    index.unwrap_or_default()
}

fn upstream(reader: &mut Reader<'_>, block: &Block<'_>, name: Arc<str>) -> Upstream {
    let texts = block.require_texts(reader, "addresses");
    let identity = block.require(reader, "identity");
    let words = &["aws", "headers"];
    let identity = reader.choice("identity", identity, words, words);
    let mut places = HashMap::new();
    let mut addresses = Vec::new();
    for text in &texts {
        let found = text.get_ref().clone();
        match server(text.get_ref()) {
            Ok(address) => {
                if identity == Some("aws") && is_clear(&address) {
                    let found = found.clone();
                    reader.report(&Fault::Clear { found }, text.span());
                }
                let twice = Fault::AddressTwice { found };
                refuse_second(reader, &mut places, address.clone(), text, &twice);
                addresses.push(address);
            }
            Err(fault) => reader.report(&fault, text.span()),
        }
    }
    let encrypted = |address: &Uri| address.scheme() == Some(&Scheme::HTTPS);
    let field = "authorities";
    let value = block.get(field);
    let authorities = value.and_then(|value| reader.path(field, value));
    if let Some(value) = value
        && addresses.len() == texts.len()
        && !addresses.iter().any(encrypted)
    {
        let needs = "an address that begins with `https://`";
        reader.report(&Fault::Superfluous { field, needs }, value.span());
    }
    Upstream {
        name,
        addresses,
        authorities,
        identity: upstream_identity(reader, block, identity),
    }
}

fn upstream_identity(
    reader: &mut Reader<'_>,
    block: &Block<'_>,
    identity: Option<&str>,
) -> UpstreamIdentity {
    let field = "region";
    let value = block.get(field);
    let text = value.and_then(|value| reader.text(field, value));
    if let Some(text) = &text
        && !is_region(text.get_ref())
    {
        let found = text.get_ref().clone();
        reader.report(&Fault::Region { found }, text.span());
    }
    match (identity, value) {
        (Some("aws"), None) => {
            let needed_by = "`identity = \"aws\"`";
            reader.report(&Fault::Lacking { field, needed_by }, block.span.clone());
        }
        (Some("headers"), Some(value)) => {
            let needs = "`identity = \"aws\"`";
            reader.report(&Fault::Superfluous { field, needs }, value.span());
        }
        _ => {}
    }
    match (identity, text) {
        (Some("aws"), Some(region)) => UpstreamIdentity::Aws {
            region: region.into_inner().into(),
        },
        _ => UpstreamIdentity::Headers,
    }
}

/// Regions are part of what is signed, to the letter.
fn is_region(text: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    is_name(text) && text.bytes().all(allowed)
}

fn server(text: &str) -> Result<Uri, Fault> {
    let found = text.to_owned();
    match parse_server(text) {
        Ok(uri) if uri.port_u16() == Some(0) => Err(Fault::PortZero { found }),
        Ok(uri) => Ok(uri),
        Err(problem) => Err(Fault::NotServer { found, problem }),
    }
}

fn parse_server(text: &str) -> Result<Uri, ServerProblem> {
    // `Uri` drops a fragment without a word.
    if text.contains(['?', '#']) {
        return Err(ServerProblem::Query);
    }
    let Some((scheme, _)) = text.split_once("://") else {
        return Err(ServerProblem::Scheme);
    };
    if !matches!(scheme, "http" | "https") {
        return Err(ServerProblem::Scheme);
    }
    let uri: Uri = text.parse().map_err(|_| ServerProblem::Uri)?;
    let authority = uri.authority().ok_or(ServerProblem::Host)?.as_str();
    if authority.contains('@') {
        return Err(ServerProblem::User);
    }
    if uri.path() != "/" {
        return Err(ServerProblem::Path);
    }
    let host = uri.host().unwrap_or_default();
    let valid = match bare(host) {
        inside if inside == host => ServerName::try_from(host).is_ok(),
        inside => inside.parse::<Ipv6Addr>().is_ok(),
    };
    if !valid {
        return Err(ServerProblem::Host);
    }
    let port = authority.strip_prefix(host).unwrap_or_default();
    if !port.is_empty() && uri.port_u16().is_none() {
        return Err(ServerProblem::Port);
    }
    Ok(uri)
}

/// Whether what is sent to `address` can be read by others than this machine. A name is asked of the network.
fn is_clear(address: &Uri) -> bool {
    let ip = address.host().and_then(|host| bare(host).parse().ok());
    address.scheme() == Some(&Scheme::HTTP) && !ip.is_some_and(|ip: IpAddr| ip.is_loopback())
}

/// A host without the brackets of IPv6.
fn bare(host: &str) -> &str {
    let inside = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    inside.unwrap_or(host)
}

fn limits(reader: &mut Reader<'_>, table: Option<&Value<'_>>) -> Limits {
    let mut limits = Limits::default();
    let expected = "a table, headed by `[limits]`";
    let Some(fields) = reader.table("limits", expected, &LIMITS, table) else {
        return limits;
    };
    for (field, limit) in [
        ("connections", &mut limits.connections),
        (
            "connections_per_address",
            &mut limits.connections_per_address,
        ),
        (
            "connections_per_endpoint",
            &mut limits.connections_per_endpoint,
        ),
    ] {
        let fault = |found| Fault::Connections { found };
        let number = reader.number(field, fields.get(field), 1..=MAX_CONNECTIONS, fault);
        if let Some(number) = number.and_then(|number| usize::try_from(number).ok()) {
            *limit = number;
        }
    }
    limits
}

fn paths(reader: &mut Reader<'_>, table: Option<&Value<'_>>) -> Paths {
    let mut paths = Paths::default();
    let expected = "a table, headed by `[paths]`";
    let Some(fields) = reader.table("paths", expected, &PATHS, table) else {
        return paths;
    };
    let fields_of = [
        ("paths.run", &mut paths.run),
        ("paths.listener_run", &mut paths.listener_run),
        ("paths.state", &mut paths.state),
        ("paths.keys", &mut paths.keys),
    ];
    reader.paths(fields, fields_of);
    if let Some(value) = fields.get("audit") {
        paths.audit = match value.get_ref() {
            DeValue::String(text) if text == JOURNAL => None,
            _ => reader.path("paths.audit", value),
        };
    }
    paths
}

/// Bytes of a name that systemd gives a descriptor (src/basic/fd-util.h, `fdname_is_valid`).
const FDNAME_MAX: usize = 255;
