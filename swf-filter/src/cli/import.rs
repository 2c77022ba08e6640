//! `swf-filter import`: policy files from what AWS publishes and its command line prints, and from plain lists.
//!
//! What is written is checked before it is in place: by itself, and beside the policy files that are there. A file that import did not
//! write is left alone.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use serde::Serialize;
use swf_filter_core::import::{self, Imported, Input, Lines, MARK, Set, Tie, VpcFile, Wanted};
use swf_filter_core::policy::parse::is_name;
use swf_filter_core::policy::{SourceFile, limits, parse};

use super::install::Turn;
use super::show::Show;
use super::{Arguments, read_all};
use crate::config::Config;
use crate::files;
use crate::report::{Rejected, Report, counted, visible};

#[derive(Subcommand)]
pub(super) enum Import {
    /// AWS's own ranges, from its `ip-ranges.json`, as a set.
    IpRanges {
        /// The file, or `-` for standard input.
        file: PathBuf,
        /// Only ranges of this service, such as EC2; repeat it for more.
        #[arg(long)]
        service: Vec<String>,
        /// Only ranges of this region, such as us-east-1; repeat it for more.
        #[arg(long)]
        region: Vec<String>,
        /// Only ranges of this network border group; repeat it for more.
        #[arg(long, value_name = "GROUP")]
        network_border_group: Vec<String>,
        #[command(flatten)]
        set: SetArguments,
    },
    /// A list of one address, prefix or range a line, as a set.
    List {
        /// The file, or `-` for standard input.
        file: PathBuf,
        /// Take the first of the values that commas part.
        #[arg(long)]
        csv: bool,
        /// Pass over the first line, which says what the values are.
        #[arg(long, requires = "csv")]
        heading: bool,
        #[command(flatten)]
        set: SetArguments,
    },
    /// A managed prefix list, from what `aws ec2 get-managed-prefix-list-entries` prints, as a set.
    PrefixList {
        /// The file, or `-` for standard input.
        file: PathBuf,
        /// A file with what `aws ec2 describe-managed-prefix-lists` prints, which tells the list's name and version.
        #[arg(long, value_name = "FILE")]
        lists: Option<PathBuf>,
        /// The id of the list, if that describes several.
        #[arg(long, requires = "lists")]
        id: Option<String>,
        #[command(flatten)]
        set: SetArguments,
    },
    /// VPCs with their ranges and endpoints, from what `aws ec2 describe-vpcs` prints.
    Vpcs(VpcArguments),
}

/// VPCs, and what AWS does not know of them.
#[derive(Args)]
pub(super) struct VpcArguments {
    /// The file, or `-` for standard input.
    file: PathBuf,
    /// A file with what `aws ec2 describe-vpc-endpoints` prints.
    #[arg(long, value_name = "FILE")]
    endpoints: Option<PathBuf>,
    /// Only this VPC; repeat it for more.
    #[arg(long, value_name = "ID")]
    vpc: Vec<String>,
    /// An interface that a VPC's packets come in on; repeat it for more.
    #[arg(long, value_name = "ID=NAME", value_parser = interface)]
    interface: Vec<(String, Tie)>,
    /// A VLAN that a VPC's packets carry; repeat it for more.
    #[arg(long, value_name = "ID=VLAN", value_parser = vlan)]
    vlan: Vec<(String, Tie)>,
    #[command(flatten)]
    target: Target,
}

/// What a set becomes.
#[derive(Args)]
pub(super) struct SetArguments {
    #[command(flatten)]
    target: Target,
    /// Have the daemon follow the set file, so that the next import is in force without a reload.
    #[arg(long)]
    follow: bool,
    /// The fewest prefixes that the followed file may have.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "follow")]
    min_prefixes: usize,
    /// The most prefixes that the followed file may have.
    #[arg(long, value_name = "N", requires = "follow")]
    max_prefixes: Option<usize>,
}

/// Where it goes.
#[derive(Args)]
pub(super) struct Target {
    /// What the set and its files are called; made of what is imported if not given.
    #[arg(long)]
    name: Option<String>,
    /// A directory, or a policy file whose name ends in `.toml`; the directory that the settings name if not given.
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// Overwrite a file that import did not write.
    #[arg(long)]
    force: bool,
}

/// What `import` prints.
#[derive(Serialize)]
struct ImportReport {
    /// The files, each with what became of it.
    files: Vec<Written>,
    /// Addresses, prefixes and ranges that were read.
    read: usize,
    /// Prefixes that are written.
    prefixes: usize,
    /// Whether the daemon follows what is written.
    followed: bool,
}

#[derive(Serialize)]
struct Written {
    path: String,
    state: State,
}

/// What became of a file.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// It said the same before.
    Unchanged,
    /// It is new, or says something else.
    Written,
}

/// A file to be written.
struct Output {
    path: PathBuf,
    bytes: Arc<[u8]>,
}

impl Show for ImportReport {
    fn show(&self) -> String {
        let mut text = String::new();
        for file in &self.files {
            let state = match file.state {
                State::Unchanged => "unchanged",
                State::Written => "written",
            };
            let _ = writeln!(text, "{state}: {}", visible(&file.path));
        }
        let prefixes = counted(self.prefixes, "prefix", "prefixes");
        let _ = write!(text, "{prefixes} of {} read", self.read);
        let is_new = self.files.iter().any(|file| file.state == State::Written);
        text += match (is_new, self.followed) {
            (true, true) => "; a daemon that follows the set file needs no reload\n",
            (true, false) => "; `swf-filter reload` brings them into force\n",
            (false, _) => "\n",
        };
        text
    }
}

impl Arguments {
    pub(super) fn import(&self, asked: &Import) -> Result<()> {
        let report = match asked {
            Import::IpRanges {
                file,
                service,
                region,
                network_border_group: group,
                set,
            } => {
                let wanted = Wanted {
                    services: service,
                    regions: region,
                    groups: group,
                };
                let bytes = input(file)?;
                let imported = import::ip_ranges(&bytes, wanted).with_context(|| within(file))?;
                let parts = [service, region, group].into_iter().flatten();
                let name = ["aws"].into_iter().chain(parts.map(String::as_str));
                let name = name.collect::<Vec<_>>().join("-").to_lowercase();
                let kept = [
                    ("service", service),
                    ("region", region),
                    ("network border group", group),
                ];
                let kept = kept.into_iter().filter(|(_, names)| !names.is_empty());
                let kept: Vec<String> = kept
                    .map(|(what, names)| format!("only {what} {}", names.join(", ")))
                    .collect();
                self.set(set, &name, &imported, &[(file, &bytes)], &kept)
            }
            Import::List {
                file,
                csv,
                heading,
                set,
            } => {
                let lines = match (csv, heading) {
                    (false, _) => Lines::Plain,
                    (true, false) => Lines::Csv,
                    (true, true) => Lines::CsvWithHeading,
                };
                let bytes = input(file)?;
                let imported = import::plain(&bytes, lines).with_context(|| within(file))?;
                let name = file.file_stem().unwrap_or_default().to_string_lossy();
                self.set(set, &name, &imported, &[(file, &bytes)], &[])
            }
            Import::PrefixList {
                file,
                lists,
                id,
                set,
            } => {
                let bytes = input(file)?;
                let described = lists.as_deref().map(input).transpose()?;
                let imported = import::prefix_list(&bytes, described.as_deref(), id.as_deref());
                let imported = imported.with_context(|| within(file))?;
                let name = imported.name.as_deref().unwrap_or("prefix-list");
                let mut inputs: Vec<(&Path, &[u8])> = vec![(file, &bytes)];
                if let (Some(path), Some(bytes)) = (lists, &described) {
                    inputs.push((path, bytes));
                }
                self.set(set, name, &imported, &inputs, &[])
            }
            Import::Vpcs(asked) => self.vpcs(asked),
        };
        self.print(&report?)
    }

    fn vpcs(&self, asked: &VpcArguments) -> Result<ImportReport> {
        let bytes = input(&asked.file)?;
        let described = asked.endpoints.as_deref().map(input).transpose()?;
        let vpcs = import::vpcs(&bytes, described.as_deref(), &asked.vpc);
        let vpcs = vpcs.with_context(|| within(&asked.file))?;
        let ties = [asked.interface.as_slice(), &asked.vlan].concat();
        let is_there = |id: &String| vpcs.iter().any(|vpc| vpc.id == *id);
        if let Some((id, _)) = ties.iter().find(|(id, _)| !is_there(id)) {
            bail!("`{}` is none of the VPCs that are imported", visible(id));
        }
        let mut inputs = vec![input_of(&asked.file, &bytes)];
        if let (Some(path), Some(bytes)) = (&asked.endpoints, &described) {
            inputs.push(input_of(path, bytes));
        }
        let file = VpcFile {
            vpcs: &vpcs,
            ties: &ties,
        };
        let kept = (!asked.vpc.is_empty()).then(|| format!("only {}", asked.vpc.join(", ")));
        let text = file.policy(&inputs, kept.as_slice());
        let (_, path) = self.policy_path(&asked.target, "vpcs")?;
        let prefixes = vpcs.iter().map(|vpc| vpc.cidrs.len()).sum();
        Ok(ImportReport {
            files: self.put(&asked.target, &[output(path, text)])?,
            read: prefixes,
            prefixes,
            followed: false,
        })
    }

    fn set(
        &self,
        asked: &SetArguments,
        name: &str,
        imported: &Imported,
        inputs: &[(&Path, &[u8])],
        kept: &[String],
    ) -> Result<ImportReport> {
        let (name, policy) = self.policy_path(&asked.target, name)?;
        let list = policy.with_extension("txt");
        let file = list.file_name().unwrap_or_default().to_string_lossy();
        let set = Set {
            name: &name,
            file: &file,
            follow: asked
                .follow
                .then_some((asked.min_prefixes, asked.max_prefixes)),
        };
        let inputs: Vec<Input<'_>> = inputs
            .iter()
            .map(|(path, bytes)| input_of(path, bytes))
            .collect();
        let text = set.list(imported, &inputs, kept);
        // The list first: a policy file that names it is never there without it.
        let outputs = [output(list.clone(), text), output(policy, set.policy())];
        Ok(ImportReport {
            files: self.put(&asked.target, &outputs)?,
            read: imported.read,
            prefixes: imported.prefixes.len(),
            followed: asked.follow,
        })
    }

    /// The name of what is imported, and the policy file that it goes to.
    fn policy_path(&self, target: &Target, name: &str) -> Result<(String, PathBuf)> {
        let name = target.name.as_deref().unwrap_or(name);
        ensure!(
            is_name(name),
            "`{}` cannot be a name in a policy; give one of 1 to 64 characters of `A-Z a-z 0-9 . _ -` with --name",
            visible(name)
        );
        let path = match &target.out {
            Some(path)
                if path
                    .extension()
                    .is_some_and(|extension| extension == "toml") =>
            {
                std::path::absolute(path)?
            }
            Some(directory) => std::path::absolute(directory)?.join(file_name(name)),
            None => Config::load(&self.config)?
                .paths
                .policy
                .join(file_name(name)),
        };
        Ok((name.to_owned(), path))
    }

    /// Puts files in place, if all of them may be there and say what they should.
    fn put(&self, target: &Target, outputs: &[Output]) -> Result<Vec<Written>> {
        let directory = outputs.first().and_then(|output| output.path.parent());
        let directory = directory.context("no directory to write to")?;
        ensure!(
            directory.is_dir(),
            "there is no directory `{}`; make it, or name another with --out",
            visible(&directory.to_string_lossy())
        );
        // Elsewhere there need not be a daemon, nor settings of one.
        let config = Config::load(&self.config).ok();
        let _turn = Turn::at(directory, config.as_ref())?;
        let states = outputs
            .iter()
            .map(|output| state(output, target))
            .collect::<Result<Vec<_>>>()?;
        check(directory, outputs)?;
        for (output, state) in outputs.iter().zip(&states) {
            if *state == State::Written {
                files::write_public(&output.path, &output.bytes)
                    .with_context(|| format!("cannot write `{}`", output.shown()))?;
            }
        }
        let written = outputs.iter().zip(states).map(|(output, state)| Written {
            path: output.path.to_string_lossy().into_owned(),
            state,
        });
        Ok(written.collect())
    }
}

fn file_name(name: &str) -> String {
    format!("import-{name}.toml")
}

fn output(path: PathBuf, text: String) -> Output {
    Output {
        path,
        bytes: text.into_bytes().into(),
    }
}

fn input(path: &Path) -> Result<Vec<u8>> {
    read_all(path, MOST_INPUT)
}

fn input_of<'a>(path: &'a Path, bytes: &'a [u8]) -> Input<'a> {
    let name = path.to_str().unwrap_or("a file whose name is not UTF-8");
    Input {
        name: if name == "-" { "standard input" } else { name },
        bytes,
    }
}

fn within(path: &Path) -> String {
    format!(
        "nothing is imported from `{}`",
        visible(&path.to_string_lossy())
    )
}

impl Output {
    fn shown(&self) -> String {
        visible(&self.path.to_string_lossy())
    }

    fn source(&self) -> SourceFile {
        SourceFile {
            name: self.path.to_string_lossy().into(),
            bytes: Arc::clone(&self.bytes),
        }
    }

    fn is_policy(&self) -> bool {
        self.path
            .extension()
            .is_some_and(|extension| extension == "toml")
    }
}

/// Whether a file has to be written. An error if something is there that is not import's.
fn state(output: &Output, target: &Target) -> Result<State> {
    let found = match fs::symlink_metadata(&output.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Written),
        found => found.with_context(|| format!("cannot look at `{}`", output.shown()))?,
    };
    ensure!(
        found.is_file(),
        "`{}` is there, and is not a regular file",
        output.shown()
    );
    let bytes = files::read_limited(&output.path, limits::SET_FILE)
        .with_context(|| format!("cannot read `{}`", output.shown()))?;
    if bytes == output.bytes {
        return Ok(State::Unchanged);
    }
    ensure!(
        target.force || bytes.starts_with(MARK.as_bytes()),
        "`{}` was not written by import; --force overwrites it",
        output.shown()
    );
    Ok(State::Written)
}

/// Reads what is to be written as the daemon would, by itself and then beside the policy files that are there.
///
/// What is wrong with those alone is not import's to say.
fn check(directory: &Path, outputs: &[Output]) -> Result<(), Rejected> {
    let own: Vec<SourceFile> = outputs.iter().map(Output::source).collect();
    let policy: Vec<SourceFile> = (outputs.iter().filter(|output| output.is_policy()))
        .map(Output::source)
        .collect();
    let mut read = |path: &Path| {
        let output = outputs.iter().find(|output| output.path == path);
        match output {
            Some(output) => Ok(Arc::clone(&output.bytes)),
            None => files::read_limited(path, limits::SET_FILE),
        }
    };
    parse(&policy, &mut read)
        .map_err(|problems| Rejected::Problems(Report::new(&problems, &own)))?;
    let is_own = |name: &str| own.iter().any(|file| *file.name == *name);
    let mut all = files::read_directory(directory)?;
    all.retain(|file| !is_own(&file.name));
    all.extend(policy);
    all.sort_by(|a, b| a.name.cmp(&b.name));
    let Err(problems) = parse(&all, &mut read) else {
        return Ok(());
    };
    let mut report = Report::new(&problems, &[all, own.clone()].concat());
    report.problems.retain(|problem| {
        let other = problem.other.as_ref().map(|(_, origin)| origin);
        [Some(&problem.at), other]
            .into_iter()
            .flatten()
            .any(|origin| is_own(&origin.file))
    });
    report.more = 0;
    if report.problems.is_empty() {
        return Ok(());
    }
    Err(Rejected::Problems(report))
}

fn interface(text: &str) -> Result<(String, Tie), String> {
    let (id, name) = text.split_once('=').ok_or("write it as `ID=NAME`")?;
    Ok((id.to_owned(), Tie::Interface(name.to_owned())))
}

fn vlan(text: &str) -> Result<(String, Tie), String> {
    let (id, vlan) = text.split_once('=').ok_or("write it as `ID=VLAN`")?;
    let vlan = vlan
        .parse()
        .map_err(|_| "a VLAN is a number from 1 to 4094")?;
    Ok((id.to_owned(), Tie::Vlan(vlan)))
}

/// Bytes of an input, at most; `ip-ranges.json` has some 2 MiB.
const MOST_INPUT: u64 = 64 << 20;
