//! A policy as plain data, and the files it is written to.
//!
//! Entries are kept as the text that stands in the file; what a text means is for the [oracle](crate::oracle) to say. Every entry knows
//! the file and line it is written on, so that reports which name `file:line` can be checked. The text is made by hand and not by a TOML
//! crate, because the crate would decide where the lines break.

use std::{fmt, fs, io, path::Path};

/// The file name that entries of `always_allow` are placed in.
pub const CONFIG_FILE: &str = "config.toml";

/// A whole policy: the files of `policy.d`, and the one list of `config.toml` that has a say in verdicts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Model {
    /// The policy files in the order they are read.
    pub files: Vec<PolicyFile>,
    /// `always_allow` of `config.toml`. Line 0: whoever writes `config.toml` decides on the line.
    pub always_allow: Vec<Entry>,
}

/// One file of `policy.d`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyFile {
    /// The name within `policy.d`.
    pub name: String,
    /// The blocks in the order they are written.
    pub blocks: Vec<Block>,
}

/// One block of a policy file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Block {
    /// A `[[host]]`.
    Host(Host),
    /// A `[[set]]`.
    Set(Set),
    /// A `[[vpc]]`.
    Vpc(Vpc),
}

/// One text of a list, and where it stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Entry {
    /// The text, without quotes.
    pub text: String,
    /// Where the text stands; filled in by [`Model::new`].
    pub place: Place,
}

/// A line of a file.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// The file, relative to `policy.d`.
    pub file: String,
    /// The line, counted from 1; 0 if it is not known.
    pub line: u32,
}

/// How a block is written down.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Spelling {
    /// Lists on one line, fields that have their default value left out.
    #[default]
    Brief,
    /// One entry a line, every field written.
    Full,
}

/// A protected host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Host {
    /// How reports call it.
    pub name: String,
    /// Addresses, prefixes and ranges.
    pub addresses: Vec<Entry>,
    /// The protected ports.
    pub ports: Ports,
    /// What happens to a source that no entry matches.
    pub default: DefaultVerdict,
    /// Whether drops are carried out.
    pub mode: Mode,
    /// Sources that pass.
    pub allow: Vec<Entry>,
    /// Sources that are reported as if they were in `deny`, and pass.
    pub audit: Vec<Entry>,
    /// Sources that drop.
    pub deny: Vec<Entry>,
    /// How the block is written.
    pub spelling: Spelling,
    /// The line of `[[host]]`; filled in by [`Model::new`].
    pub place: Place,
}

/// The ports a host protects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ports {
    /// Every port and every protocol.
    All,
    /// First and last port of each range.
    Listed(Vec<(u16, u16)>),
}

/// The field `default` of a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DefaultVerdict {
    /// `"drop"`
    Drop,
    /// `"pass"`
    Pass,
}

/// The field `mode` of a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// `"audit"`
    Audit,
    /// `"enforce"`
    Enforce,
}

/// A named list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// What stands in the policy file.
    pub cidrs: Vec<Entry>,
    /// What stands in a file of its own.
    pub file: Option<SetFile>,
    /// How the block is written.
    pub spelling: Spelling,
}

/// The file of a set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SetFile {
    /// The path, relative to `policy.d`.
    pub name: String,
    /// One entry a line.
    pub entries: Vec<Entry>,
}

/// A VPC.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Vpc {
    /// Its id.
    pub id: String,
    /// Its source ranges.
    pub cidrs: Vec<Entry>,
    /// The interfaces it claims.
    pub interfaces: Vec<String>,
    /// The VLANs it claims.
    pub vlans: Vec<u16>,
    /// How the block is written.
    pub spelling: Spelling,
}

impl Model {
    /// A policy whose entries know where they stand.
    #[must_use]
    pub fn new(mut files: Vec<PolicyFile>, mut always_allow: Vec<Entry>) -> Self {
        for file in &mut files {
            file.render();
        }
        for entry in &mut always_allow {
            CONFIG_FILE.clone_into(&mut entry.place.file);
        }
        Self {
            files,
            always_allow,
        }
    }

    /// Name and text of every policy file and set file.
    ///
    /// Names are relative to `policy.d`, and may have a folder in front.
    #[must_use]
    pub fn to_toml(&self) -> Vec<(String, String)> {
        let mut files = Vec::new();
        for file in &self.files {
            files.push((file.name.clone(), file.clone().render()));
        }
        for file in self.sets().filter_map(|set| set.file.as_ref()) {
            files.push((file.name.clone(), file.clone().render()));
        }
        files
    }

    /// The value of `always_allow` in `config.toml`, brackets included.
    #[must_use]
    pub fn always_allow_toml(&self) -> String {
        let texts: Vec<_> = self.always_allow.iter().map(Entry::quoted).collect();
        format!("[{}]", texts.join(", "))
    }

    /// Writes [`to_toml`](Self::to_toml) below `folder`.
    pub fn write_to(&self, folder: &Path) -> io::Result<()> {
        for (name, text) in self.to_toml() {
            let path = folder.join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(path, text)?;
        }
        Ok(())
    }

    /// All hosts in the order they are written.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.blocks().filter_map(|block| match block {
            Block::Host(host) => Some(host),
            Block::Set(_) | Block::Vpc(_) => None,
        })
    }

    /// All sets in the order they are written.
    pub fn sets(&self) -> impl Iterator<Item = &Set> {
        self.blocks().filter_map(|block| match block {
            Block::Set(set) => Some(set),
            Block::Host(_) | Block::Vpc(_) => None,
        })
    }

    /// All VPCs in the order they are written.
    pub fn vpcs(&self) -> impl Iterator<Item = &Vpc> {
        self.blocks().filter_map(|block| match block {
            Block::Vpc(vpc) => Some(vpc),
            Block::Host(_) | Block::Set(_) => None,
        })
    }

    fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.files.iter().flat_map(|file| &file.blocks)
    }
}

/// Shows the files as they are written, for reports of failed tests.
impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "==> {CONFIG_FILE}\nalways_allow = {}",
            self.always_allow_toml()
        )?;
        for (name, text) in self.to_toml() {
            writeln!(f, "==> {name}\n{text}")?;
        }
        Ok(())
    }
}

impl Entry {
    /// An entry that does not know its place yet.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            place: Place::default(),
        }
    }

    fn quoted(&self) -> String {
        format!("\"{}\"", self.text)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Host {
    /// A host with the defaults of the page: port 443, drop, enforce, empty lists.
    pub fn new(name: impl Into<String>, addresses: &[&str]) -> Self {
        Self {
            name: name.into(),
            addresses: addresses.iter().map(|text| Entry::new(*text)).collect(),
            ports: Ports::default(),
            default: DefaultVerdict::Drop,
            mode: Mode::Enforce,
            allow: Vec::new(),
            audit: Vec::new(),
            deny: Vec::new(),
            spelling: Spelling::Brief,
            place: Place::default(),
        }
    }

    /// The same host with these entries in `allow`.
    #[must_use]
    pub fn allow(mut self, texts: &[&str]) -> Self {
        self.allow = texts.iter().map(|text| Entry::new(*text)).collect();
        self
    }

    /// The same host with these entries in `deny`.
    #[must_use]
    pub fn deny(mut self, texts: &[&str]) -> Self {
        self.deny = texts.iter().map(|text| Entry::new(*text)).collect();
        self
    }

    /// The same host with these entries in `audit`.
    #[must_use]
    pub fn audit(mut self, texts: &[&str]) -> Self {
        self.audit = texts.iter().map(|text| Entry::new(*text)).collect();
        self
    }

    fn render(&mut self, page: &mut Page) {
        page.line("[[host]]");
        self.place = page.last_place();
        page.line(&format!("name = \"{}\"", self.name));
        page.list("addresses", &mut self.addresses, self.spelling);
        let full = self.spelling == Spelling::Full;
        if full || self.ports != Ports::default() {
            page.line(&format!("ports = {}", self.ports.render()));
        }
        if full || self.default != DefaultVerdict::Drop {
            page.line(&format!("default = \"{}\"", self.default.name()));
        }
        if full || self.mode != Mode::Enforce {
            page.line(&format!("mode = \"{}\"", self.mode.name()));
        }
        page.list("allow", &mut self.allow, self.spelling);
        page.list("audit", &mut self.audit, self.spelling);
        page.list("deny", &mut self.deny, self.spelling);
    }
}

impl Default for Ports {
    fn default() -> Self {
        Self::Listed(vec![(443, 443)])
    }
}

impl Ports {
    fn render(&self) -> String {
        match self {
            Self::All => "\"all\"".to_owned(),
            Self::Listed(ranges) => {
                let ranges: Vec<_> = ranges.iter().copied().map(render_port_range).collect();
                format!("[{}]", ranges.join(", "))
            }
        }
    }
}

fn render_port_range((first, last): (u16, u16)) -> String {
    if first == last {
        first.to_string()
    } else {
        format!("\"{first}-{last}\"")
    }
}

impl DefaultVerdict {
    fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Pass => "pass",
        }
    }
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Enforce => "enforce",
        }
    }
}

impl Set {
    fn render(&mut self, page: &mut Page) {
        page.line("[[set]]");
        page.line(&format!("name = \"{}\"", self.name));
        if !self.cidrs.is_empty() {
            page.list("cidrs", &mut self.cidrs, self.spelling);
        }
        if let Some(file) = &mut self.file {
            page.line(&format!("file = \"{}\"", file.name));
            file.render();
        }
    }
}

impl SetFile {
    /// The text of the file; notes the line of each entry on the way.
    fn render(&mut self) -> String {
        let mut page = Page::new(&self.name);
        page.line("# a list for tests");
        page.line("");
        for (position, entry) in self.entries.iter_mut().enumerate() {
            let comment = if position % 3 == 1 { "  # why" } else { "" };
            page.line(&format!("{}{comment}", entry.text));
            entry.place = page.last_place();
        }
        page.text
    }
}

impl Vpc {
    fn render(&mut self, page: &mut Page) {
        page.line("[[vpc]]");
        page.line(&format!("id = \"{}\"", self.id));
        page.list("cidrs", &mut self.cidrs, self.spelling);
        let full = self.spelling == Spelling::Full;
        if full || !self.interfaces.is_empty() {
            page.line(&format!("interfaces = {:?}", self.interfaces));
        }
        if full || !self.vlans.is_empty() {
            page.line(&format!("vlans = {:?}", self.vlans));
        }
    }
}

impl PolicyFile {
    /// The text of the file; notes the line of each entry on the way.
    fn render(&mut self) -> String {
        let mut page = Page::new(&self.name);
        page.line("version = 1");
        for block in &mut self.blocks {
            page.line("");
            match block {
                Block::Host(host) => host.render(&mut page),
                Block::Set(set) => set.render(&mut page),
                Block::Vpc(vpc) => vpc.render(&mut page),
            }
        }
        page.text
    }
}

/// A text that counts its lines.
struct Page {
    file: String,
    text: String,
    lines: u32,
}

impl Page {
    fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            text: String::new(),
            lines: 0,
        }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
        self.lines += 1;
    }

    fn last_place(&self) -> Place {
        Place {
            file: self.file.clone(),
            line: self.lines,
        }
    }

    fn list(&mut self, field: &str, entries: &mut [Entry], spelling: Spelling) {
        match spelling {
            Spelling::Brief if entries.is_empty() => {}
            Spelling::Brief => self.list_on_one_line(field, entries),
            Spelling::Full => self.list_on_lines(field, entries),
        }
    }

    fn list_on_one_line(&mut self, field: &str, entries: &mut [Entry]) {
        let texts: Vec<_> = entries.iter().map(Entry::quoted).collect();
        self.line(&format!("{field} = [{}]", texts.join(", ")));
        for entry in entries {
            entry.place = self.last_place();
        }
    }

    fn list_on_lines(&mut self, field: &str, entries: &mut [Entry]) {
        self.line(&format!("{field} = ["));
        for entry in entries {
            self.line(&format!("  {},", entry.quoted()));
            entry.place = self.last_place();
        }
        self.line("]");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of<'a>(files: &'a [(String, String)], place: &Place) -> &'a str {
        let (_, text) = files.iter().find(|(name, _)| *name == place.file).unwrap();
        text.lines().nth(place.line as usize - 1).unwrap()
    }

    fn model() -> Model {
        let mut host = Host::new("a", &["198.51.100.10"]).allow(&["192.0.2.0/24", "set:offices"]);
        host.spelling = Spelling::Full;
        let set = Set {
            name: "offices".into(),
            cidrs: vec![Entry::new("10.0.0.0/8")],
            file: Some(SetFile {
                name: "lists/offices.txt".into(),
                entries: vec![Entry::new("10.1.0.0/16"), Entry::new("::1")],
            }),
            spelling: Spelling::Brief,
        };
        let file = PolicyFile {
            name: "10.toml".into(),
            blocks: vec![Block::Host(host), Block::Set(set)],
        };
        Model::new(vec![file], vec![Entry::new("192.0.2.1")])
    }

    #[test]
    fn every_entry_stands_on_the_line_it_names() {
        let model = model();
        let files = model.to_toml();
        let host = model.hosts().next().unwrap();
        let set = model.sets().next().unwrap();
        let in_file = &set.file.as_ref().unwrap().entries;
        for entry in host.allow.iter().chain(&set.cidrs).chain(in_file) {
            assert!(line_of(&files, &entry.place).contains(&entry.text));
        }
        assert_eq!(line_of(&files, &host.place), "[[host]]");
    }

    #[test]
    fn brief_spelling_leaves_defaults_out() {
        let mut host = Host::new("a", &["198.51.100.10"]);
        let mut page = Page::new("x.toml");
        host.render(&mut page);
        let expected = "[[host]]\nname = \"a\"\naddresses = [\"198.51.100.10\"]\n";
        assert_eq!(page.text, expected);
    }
}
