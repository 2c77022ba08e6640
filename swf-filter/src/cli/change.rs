//! `swf-filter reload`, `try`, `confirm`, `apply`, `rollback` and `history`: changes of the policy in force, and ways back.
//!
//! What is tried, applied or gone back to is a text that the daemon is given, and holds; then the policy files are made to say the
//! same, by this command, because the daemon's unit may not write to `/etc`.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use hyper::Method;
use jiff::SignedDuration;
use swf_filter_core::compile::List;

use super::install::{Turn, directories, install};
use super::show::{Show, duration, line, warned};
use super::{Arguments, ssh};
use crate::config::Config;
use crate::control::api::{
    ApplyRequest, ConfirmReport, HistoryReport, Operator, PolicyReport, PreviewReport,
    PreviewRequest, ReloadReport, ReloadRequest, RollbackRequest, SettleReport, Traffic,
    TryRequest,
};
use crate::files::{self, PRINCIPALS};
use crate::report::{Report, counted, visible};
use crate::sources::{Source, Sources};
use crate::state::Tally;

/// How long files of a change that is in force wait for others that write files. Writing them takes no second.
const PATIENCE: Duration = Duration::from_mins(1);

/// A change that may cut off who makes it.
#[derive(Args)]
pub(super) struct Force {
    /// Go on although it would drop the SSH connection that this is run over.
    #[arg(long, visible_alias = "yes")]
    force: bool,
}

/// A policy for some time.
#[derive(Args)]
pub(super) struct Try {
    /// The policy directory; the one that the settings name if not given. `principals.d` beside it counts, if there is one.
    directory: Option<PathBuf>,
    /// When the policy before comes back, unless `swf-filter confirm` is heard before.
    #[arg(long, default_value = "2m", value_parser = length)]
    timeout: Duration,
    #[command(flatten)]
    force: Force,
}

/// A policy directory that takes the place of the daemon's own.
#[derive(Args)]
pub(super) struct Apply {
    /// The policy directory; the one that the settings name if not given. `principals.d` beside it counts, if there is one.
    directory: Option<PathBuf>,
    /// Only say what would change, and what that would have meant for the traffic of the last hour.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    force: Force,
}

/// An earlier generation.
#[derive(Args)]
pub(super) struct Rollback {
    /// Its number, as `swf-filter history` shows it; the one before if not given.
    generation: Option<u64>,
    #[command(flatten)]
    force: Force,
}

fn length(text: &str) -> Result<Duration, String> {
    let length: Option<SignedDuration> = text.parse().ok();
    length
        .and_then(|length| Duration::try_from(length).ok())
        .filter(|length| length.as_secs() > 0)
        .ok_or_else(|| "write how long, such as 90s or 5m".to_owned())
}

impl Force {
    /// Who must not be cut off.
    fn operator(&self) -> Option<Operator> {
        if self.force { None } else { ssh::operator() }
    }
}

impl Arguments {
    pub(super) fn reload(&self, force: &Force) -> Result<()> {
        let request = ReloadRequest {
            operator: force.operator(),
        };
        self.ask::<ReloadReport>(Method::POST, "/v1/reload", &request)
    }

    pub(super) fn try_out(&self, asked: &Try) -> Result<()> {
        let config = Config::load(&self.config)?;
        let directory = asked.directory.as_deref();
        let request = TryRequest {
            sources: read(directory.unwrap_or(&config.paths.policy), &config)?,
            seconds: asked.timeout.as_secs(),
            operator: asked.force.operator(),
        };
        self.ask::<ReloadReport>(Method::POST, "/v1/try", &request)
    }

    pub(super) fn confirm(&self) -> Result<()> {
        let mut report: ConfirmReport = self.fetch(Method::POST, "/v1/confirm", &())?;
        if !report.settled {
            self.write_files_too(report.generation.number, &report.warnings, None)?;
            report.settled = true;
        }
        self.print(&report)
    }

    pub(super) fn apply(&self, asked: &Apply) -> Result<()> {
        let config = Config::load(&self.config)?;
        let directory = asked.directory.as_deref();
        let read = || read(directory.unwrap_or(&config.paths.policy), &config);
        let operator = asked.force.operator();
        if asked.dry_run {
            let sources = read()?;
            let request = PreviewRequest {
                sources: Some(sources),
                operator,
            };
            return self.ask::<PreviewReport>(Method::POST, "/v1/preview", &request);
        }
        let turn = Turn::now(&config.paths.state)?;
        let sources = read()?;
        let request = ApplyRequest { sources, operator };
        let report: ReloadReport = self.fetch(Method::POST, "/v1/apply", &request)?;
        self.settle(&report, Some(turn))
    }

    pub(super) fn rollback(&self, asked: &Rollback) -> Result<()> {
        let request = RollbackRequest {
            generation: asked.generation,
            operator: asked.force.operator(),
        };
        let report: ReloadReport = self.fetch(Method::POST, "/v1/rollback", &request)?;
        self.settle(&report, None)
    }

    pub(super) fn history(&self) -> Result<()> {
        self.ask::<HistoryReport>(Method::GET, "/v1/history", &())
    }

    fn settle(&self, report: &ReloadReport, turn: Option<Turn>) -> Result<()> {
        self.write_files_too(report.generation.number, &report.warnings, turn)?;
        self.print(report)
    }

    /// Writes the files of a change. If that fails, what else went wrong is told with it: the same disk may be full.
    fn write_files_too(
        &self,
        generation: u64,
        warnings: &[String],
        turn: Option<Turn>,
    ) -> Result<()> {
        let written = self.write_files(generation, turn);
        if warnings.is_empty() {
            written
        } else {
            written.with_context(|| warnings.join("; "))
        }
    }

    /// Makes the policy files say what is in force, which is `generation` unless somebody else was faster.
    ///
    /// What may be needed in a hurry takes its turn only here, after the change: that never waits for others who write files.
    fn write_files(&self, generation: u64, turn: Option<Turn>) -> Result<()> {
        let behind = || {
            format!(
                "generation {generation} is in force, but the policy files do not say so; mend that, and `swf-filter confirm` \
                 writes them again"
            )
        };
        let config = Config::load(&self.config).with_context(behind)?;
        let ours = directories(&config);
        let _turn = match turn {
            Some(turn) => turn,
            None => Turn::within(PATIENCE, &config.paths.state, wait).with_context(behind)?,
        };
        let report: PolicyReport = self.fetch(Method::GET, "/v1/policy", &())?;
        let ensure_in_force = |now: u64| {
            ensure!(
                now == generation,
                "generation {now} has taken the place of {generation} meanwhile; `swf-filter history` says who changed that"
            );
            Ok(())
        };
        ensure_in_force(report.info.generation)?;
        let astray = install(&report.sources, &ours).with_context(behind)?;
        let end: SettleReport = self
            .fetch(Method::POST, "/v1/settle", &())
            .with_context(|| format!("generation {generation} is in force, and whether the files say so is not settled"))?;
        ensure_in_force(end.generation)
            .with_context(|| format!("the policy files say what generation {generation} was"))?;
        if end.settled {
            return Ok(());
        }
        let astray: Vec<String> = astray
            .iter()
            .map(|path| format!("`{}`", visible(&path.to_string_lossy())))
            .collect();
        if astray.is_empty() {
            bail!("{}", behind());
        }
        let astray = astray.join(", ");
        let words = "should say something else, which is yours to write: outside of the policy directories, and behind links, no file is touched";
        Err(anyhow!("{astray} {words}").context(behind()))
    }
}

/// Says why it takes longer.
fn wait(why: &str) {
    // Nobody is left to be told if standard error cannot be written to.
    let _unwritable = writeln!(
        io::stderr(),
        "waiting up to {} s: {why}",
        PATIENCE.as_secs()
    );
}

/// Reads and checks a policy directory, and gives its text with the names that files have in the daemon's own.
fn read(directory: &Path, config: &Config) -> Result<Sources> {
    let ours = directories(config);
    let directory = std::path::absolute(directory)
        .with_context(|| format!("cannot tell where `{}` is", directory.display()))?;
    let beside = directory.with_file_name(PRINCIPALS);
    let principals = if beside.exists() { &beside } else { &ours[1] };
    let loaded = files::load_both(&directory, principals, &config.always_allow)?;
    if !loaded
        .sources
        .policy
        .iter()
        .any(|file| is_in(&file.name, &directory))
    {
        let within = directory.join("policy.d");
        let hint = if within.is_dir() {
            format!("; `{}` is there", within.display())
        } else {
            String::new()
        };
        bail!(
            "`{}` has no policy files: they end in `.toml`{hint}. To protect nothing, write one with `version = 1` only",
            directory.display()
        );
    }
    loaded.compile()?;
    let mut sources = loaded.sources;
    let moves = [(&*directory, &*ours[0]), (principals, &*ours[1])];
    for file in sources.policy.iter_mut().chain(&mut sources.named) {
        moved(file, moves);
    }
    Ok(sources)
}

fn is_in(name: &str, directory: &Path) -> bool {
    Path::new(name).parent() == Some(directory)
}

fn moved(file: &mut Source, moves: [(&Path, &Path); 2]) {
    let path = Path::new(&*file.name);
    let found = moves
        .into_iter()
        .find_map(|(from, to)| Some(to.join(path.strip_prefix(from).ok()?)));
    if let Some(path) = found {
        file.name = path.to_string_lossy().into();
    }
}

impl Show for ConfirmReport {
    fn show(&self) -> String {
        let text = format!("generation {} stays in force\n", self.generation.number);
        let warnings = self.warnings.iter().map(|warning| warned(warning));
        text + &warnings.collect::<String>()
    }
}

impl Show for HistoryReport {
    fn show(&self) -> String {
        let mut text = format!(
            "  {:>10}  {:<24}  {:<8}  {:<12}  CHANGES\n",
            "GENERATION", "SINCE", "HOW", "BY"
        );
        for entry in &self.generations {
            let record = &entry.record;
            let mut changes = Vec::new();
            changes.extend(record.again.map(|again| format!("{again} again")));
            changes.extend(tally(record.change.hosts, "host", "hosts"));
            changes.extend(tally(record.change.rules, "rule", "rules"));
            let mut prefixes = tally(record.change.prefixes, "prefix", "prefixes");
            if let Some(prefixes) = prefixes.as_mut().filter(|_| record.change.more) {
                prefixes.push_str(" and more");
            }
            changes.extend(prefixes);
            if !entry.kept {
                changes.push("not kept".to_owned());
            }
            line!(
                text,
                "{} {:>10}  {:<24}  {:<8}  {:<12}  {}",
                if entry.in_force { '*' } else { ' ' },
                record.generation,
                record.time,
                record.how.name(),
                visible(&record.by.name()),
                changes.join(", ")
            );
        }
        text
    }
}

impl Show for PreviewReport {
    fn show(&self) -> String {
        let mut text = self.difference.show();
        if !self.traffic.turns.is_empty() {
            text.push('\n');
            show_traffic(&mut text, &self.traffic);
        }
        if let Some(words) = &self.cuts_off {
            text.push_str(&warned(words));
        }
        text
    }

    fn doubts(&self) -> Report {
        self.doubts.clone()
    }
}

fn show_traffic(text: &mut String, traffic: &Traffic) {
    let since = duration(traffic.seconds);
    for drops in [true, false] {
        let turns = || traffic.turns.iter().filter(|one| one.turn.drops == drops);
        if turns().next().is_none() {
            continue;
        }
        let (what, bounds) = if drops {
            ("pass now, and would be dropped", traffic.would_drop)
        } else {
            ("are dropped now, and would pass", traffic.would_pass)
        };
        match bounds {
            Some(bounds) if bounds.at_least == bounds.at_most => {
                line!(
                    text,
                    "{what}: {} packets in the last {since}",
                    bounds.at_most
                );
            }
            Some(bounds) => line!(
                text,
                "{what}: {} to {} packets in the last {since}",
                bounds.at_least,
                bounds.at_most
            ),
            None => line!(text, "{what}:"),
        }
        for one in turns() {
            let turn = &one.turn;
            let some: Vec<String> = turn.some.iter().map(ToString::to_string).collect();
            let rule = match turn.list {
                List::Default => turn.rule.to_string(),
                list => format!("{} {}", list.name(), turn.rule),
            };
            let packets = match one.packets {
                Some(packets) if turn.whole => format!("{packets} packets"),
                Some(packets) => format!("at most {packets} packets"),
                None => "packets not known".to_owned(),
            };
            line!(
                text,
                "  host {}: {} of {}, in {}{}: {packets}",
                visible(&turn.host),
                if turn.whole { "all" } else { "part" },
                visible(&rule),
                some.join(", "),
                if turn.prefixes > some.len() {
                    format!(" and {} more", turn.prefixes - some.len())
                } else {
                    String::new()
                }
            );
        }
    }
    let sample = &traffic.sample;
    if sample.would_pass + sample.would_drop > 0 {
        let sources: Vec<String> = sample.sources.iter().map(ToString::to_string).collect();
        line!(
            text,
            "of {} packets seen one by one, {} would newly pass and {} newly drop, such as from {}",
            sample.events,
            sample.would_pass,
            sample.would_drop,
            sources.join(", ")
        );
    }
    for note in &traffic.notes {
        line!(text, "note: {note}");
    }
}

/// Such as `+2 -1 rules`.
fn tally(tally: Tally, one: &str, many: &str) -> Option<String> {
    let mut text = String::new();
    for (sign, number) in [
        ('+', tally.added),
        ('-', tally.removed),
        ('~', tally.changed),
    ] {
        if number > 0 {
            let _never_fails = write!(text, "{sign}{number} ");
        }
    }
    let all = tally.added + tally.removed + tally.changed;
    let name = counted(all, one, many);
    let (_, name) = name.split_once(' ').unwrap_or_default();
    (all > 0).then(|| text + name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_times_to_come_are_taken() {
        assert_eq!(length("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(length("2m").unwrap(), Duration::from_mins(2));
        for wrong in ["", "0s", "-1m", "soon", "500ms"] {
            assert!(length(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_tally_says_what_there_is() {
        let rules = |added, removed, changed| {
            let counts = Tally {
                added,
                removed,
                changed,
            };
            tally(counts, "rule", "rules")
        };
        assert_eq!(rules(0, 0, 0), None);
        assert_eq!(rules(1, 0, 0).as_deref(), Some("+1 rule"));
        assert_eq!(rules(2, 1, 3).as_deref(), Some("+2 -1 ~3 rules"));
    }

    #[test]
    fn files_are_named_as_they_will_be() {
        let moves = [("/new/policy.d", "/etc/p"), ("/new/principals.d", "/etc/q")];
        let moves = moves.map(|(from, to)| (Path::new(from), Path::new(to)));
        for (name, expected) in [
            ("/new/policy.d/a.toml", "/etc/p/a.toml"),
            ("/new/policy.d/../s.txt", "/etc/p/../s.txt"),
            ("/new/principals.d/b.json", "/etc/q/b.json"),
            ("/new/policy.d2/a.toml", "/new/policy.d2/a.toml"),
        ] {
            let mut file = Source {
                name: name.into(),
                text: [].into(),
            };
            moved(&mut file, moves);
            assert_eq!(&*file.name, expected);
        }
    }
}
