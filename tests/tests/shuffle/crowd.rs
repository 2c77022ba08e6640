//! A daemon, the disks of its files, whoever changes the policy, and what may hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::{self, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use swf_filter_tests::disk::Disk;
use swf_filter_tests::frames::Frame;
use swf_filter_tests::process::{Child, run};
use swf_filter_tests::wait::wait_until;
use swf_filter_tests::wire::Wire;
use swf_filter_tests::world::{DEADLINE, World};

use crate::model::{Command, Content, Damage, Model, Order, POLICIES, Progress, interleaved};

/// Each policy has a file for each host, so that half of one shows.
const HOSTS: [&str; 2] = ["198.51.100.10", "198.51.100.20"];

pub(crate) struct Crowd {
    pub(crate) daemon: Child,
    // Dropped before the world, whose directory cannot be removed below them.
    policies: Disk,
    state: Disk,
    wire: Wire,
    world: World,
    models: Vec<Model>,
    number: u64,
    /// Which policy each text of the history was, by its hash.
    texts: BTreeMap<String, usize>,
}

/// What packets, `status` and `history` show.
struct Seen {
    policy: usize,
    status: Value,
    newest: Value,
}

impl Seen {
    fn fits(&self, model: &Model) -> bool {
        let is_held = model.order == Order::Held;
        self.policy == model.now
            && is_held != self.status["held"].is_null()
            && model.is_trial() != self.status["trial"].is_null()
            && (model.is_behind || self.newest["in_force"] == true)
    }
}

fn write(directory: &Path, policy: usize) -> Result<()> {
    for (name, address) in HOSTS.iter().enumerate() {
        let text = format!(
            "version = 1\n[[host]]\nname = \"{name}\"\naddresses = [\"{address}\"]\nallow = [\"192.0.2.{policy}\"]\n"
        );
        fs::write(directory.join(format!("{name}.toml")), text)?;
    }
    Ok(())
}

impl Crowd {
    pub(crate) fn new(name: &str) -> Result<Option<Self>> {
        let Some(world) = World::silent(name)? else {
            return Ok(None);
        };
        let policies = Disk::at(&world.policies())?;
        let state = Disk::at(&world.file("state"))?;
        for policy in 0..POLICIES {
            let directory = world.file(&policy.to_string());
            fs::create_dir(&directory)?;
            write(&directory, policy)?;
        }
        write(&world.policies(), 0)?;
        Ok(Some(Self {
            daemon: world.attached_daemon()?,
            wire: world.wire_one()?,
            world,
            policies,
            state,
            models: vec![Model::new()],
            number: 0,
            texts: BTreeMap::new(),
        }))
    }

    /// Fails unless what is seen is what may hold; what cannot hold any more is forgotten.
    pub(crate) fn check(&mut self) -> Result<()> {
        let seen = self.look()?;
        let (status, newest) = (&seen.status, &seen.newest);
        let mut left: Vec<Model> = Vec::new();
        for model in self.models.iter().flat_map(Model::later) {
            if seen.fits(&model) && !left.contains(&model) {
                left.push(model);
            }
        }
        ensure!(
            !left.is_empty(),
            "policy {} is enforced\n{status}\n{newest}\nbut there may be only {:#?}",
            seen.policy,
            self.models
        );
        self.models = left;
        let number = status["generation"]["number"].as_u64();
        let number = number.context("no number")?;
        ensure!(number >= self.number, "{number} after {}", self.number);
        self.number = number;
        if newest["in_force"] == true {
            let text = newest["policy"].to_string();
            let policy = *self.texts.entry(text).or_insert(seen.policy);
            ensure!(
                newest["generation"] == number && policy == seen.policy,
                "{newest}"
            );
        }
        Ok(())
    }

    fn look(&self) -> Result<Seen> {
        loop {
            let before = self.world.status()?;
            let policy = self.enforced()?;
            let newest = self.world.ask(&["history"])?["generations"][0].take();
            let status = self.world.status()?;
            let parts = ["generation", "held"];
            let same = parts.iter().all(|part| before[part] == status[part]);
            if same && before["trial"].is_null() == status["trial"].is_null() {
                return Ok(Seen {
                    policy,
                    status,
                    newest,
                });
            }
        }
    }

    /// The policy that packets meet, which is whole.
    fn enforced(&self) -> Result<usize> {
        let [one, two] = self.passing()?;
        ensure!(one == two && one.len() == 1, "{one:?} and {two:?} pass");
        one.first().copied().context("nobody passes")
    }

    /// Which sources get through to each host.
    fn passing(&self) -> Result<[BTreeSet<usize>; 2]> {
        let mut passing = [BTreeSet::new(), BTreeSet::new()];
        for (host, passing) in HOSTS.iter().zip(&mut passing) {
            for source in 0..POLICIES {
                let from: IpAddr = format!("192.0.2.{source}").parse()?;
                let frame = Frame::ip(from, host.parse()?).tcp(40_000, 443);
                if self.wire.passes(&frame.to_bytes())? {
                    passing.insert(source);
                }
            }
        }
        Ok(passing)
    }

    /// Runs commands at the same time.
    pub(crate) fn run(&mut self, commands: &[Command]) -> Result<()> {
        let (begun, before) = (Instant::now(), self.enforced()?);
        let has_trial = self.models.iter().any(Model::is_trial);
        let running = commands.iter().map(|command| self.spawn(*command));
        let running = running.collect::<Result<Vec<_>>>()?;
        let ends = running.into_iter().map(process::Child::wait_with_output);
        let ends = ends.collect::<Result<Vec<Output>, _>>()?;
        let done: Vec<bool> = ends.iter().map(|end| end.status.success()).collect();
        let said: Vec<_> = ends
            .iter()
            .map(|end| String::from_utf8_lossy(&end.stderr))
            .collect();
        println!("    {done:?} {said:?}");
        if done == [false] && !has_trial && self.enforced()? != before {
            ensure!(said[0].contains("is in force"), "{said:?}");
        }
        self.ended(commands, begun, &done)
    }

    /// Has the daemon reload by a signal.
    pub(crate) fn hang_up(&mut self) -> Result<()> {
        let begun = Instant::now();
        let is_done = self.world.reload_by_signal(&self.daemon).is_ok();
        self.ended(&[Command::Reload], begun, &[is_done])
    }

    fn ended(&mut self, commands: &[Command], begun: Instant, done: &[bool]) -> Result<()> {
        let times = [begun, Instant::now()];
        let ended: Vec<_> = done.iter().copied().map(Progress::Ended).collect();
        let running = self
            .models
            .iter()
            .flat_map(|model| interleaved(model, commands, times));
        let left = running.filter(|(_, progress)| *progress == ended);
        let left: Vec<Model> = left.map(|(model, _)| model).collect();
        ensure!(
            !left.is_empty(),
            "{done:?} cannot be with {:#?}",
            self.models
        );
        self.models = left;
        Ok(())
    }

    fn spawn(&self, command: Command) -> Result<process::Child> {
        let directory = |policy: usize| self.world.file(&policy.to_string());
        let mut process = self.world.command();
        match command {
            Command::Apply(policy) => process.arg("apply").arg(directory(policy)),
            Command::Confirm => process.arg("confirm"),
            Command::Reload => process.arg("reload"),
            Command::Rollback(None) => process.arg("rollback"),
            Command::Rollback(Some((number, _))) => process.args(["rollback", &number.to_string()]),
            Command::Try(policy, time) => {
                let time = format!("{}s", time.as_secs());
                process
                    .arg("try")
                    .arg(directory(policy))
                    .args(["--timeout", &time])
            }
        };
        process.stdin(Stdio::null());
        let process = process.stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(process.spawn()?)
    }

    /// Kills the daemon, so long after a command was given, and starts it again.
    pub(crate) fn kill_during(&mut self, command: Command, time: Duration) -> Result<()> {
        let begun = Instant::now();
        let running = self.spawn(command)?;
        // Nothing is waited for: any moment will do.
        thread::sleep(time);
        self.daemon.kill()?;
        running.wait_with_output()?;
        let times = [begun, Instant::now()];
        let running = self
            .models
            .iter()
            .flat_map(|model| interleaved(model, &[command], times));
        self.models = running.map(|(model, _)| model).collect();
        self.kill()
    }

    /// Kills the daemon and starts it again. The kernel goes on meanwhile.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.daemon.kill()?;
        let policy = self.enforced()?;
        let may_be = self.models.iter().any(|model| model.now == policy);
        ensure!(may_be, "policy {policy} is not in {:#?}", self.models);
        self.start(Model::started)
    }

    /// Kills the daemon, takes off the filter as a boot does, and starts the daemon.
    pub(crate) fn boot(&mut self) -> Result<()> {
        self.daemon.kill()?;
        run(self.world.command().arg("detach"))?;
        let passing = self.passing()?;
        ensure!(passing.iter().all(|passing| passing.len() == POLICIES));
        if self.models.iter().any(|model| model.is_behind) {
            // Numbers that are not on disk are lost.
            self.number = 0;
        }
        self.start(Model::booted)
    }

    fn start(&mut self, become_of: fn(&Model) -> Vec<Model>) -> Result<()> {
        self.daemon = self.world.restarted_daemon()?;
        let later = self.models.iter().flat_map(Model::later);
        self.models = later.flat_map(|model| become_of(&model)).collect();
        Ok(())
    }

    /// Waits until a trial of this length would be over.
    pub(crate) fn wait(&self, length: Duration) {
        let is_short = |trial: &Value| trial["seconds_left"].as_u64() <= Some(length.as_secs());
        wait_until(DEADLINE, "the end of the trial", || {
            let trial = self.world.status().map(|status| status["trial"].clone());
            trial.is_ok_and(|trial| trial.is_null() || !is_short(&trial))
        });
    }

    /// Writes the policy files.
    pub(crate) fn edit(&mut self, policy: usize) -> Result<()> {
        write(&self.world.policies(), policy)?;
        self.each(|model| model.files = Some(policy));
        Ok(())
    }

    /// Writes half a policy file.
    pub(crate) fn edit_badly(&mut self) -> Result<()> {
        self.world.write_policy("0.toml", "version = ")?;
        self.each(|model| model.files = None);
        Ok(())
    }

    pub(crate) fn can_edit(&self) -> bool {
        !matches!(self.models[0].damage, Some((Content::Policies, _)))
    }

    /// Has one disk in this state, and the other fine.
    pub(crate) fn damage(&mut self, damage: Option<(Content, Damage)>) -> Result<()> {
        let disk = |content| match content {
            Content::Policies => &self.policies,
            Content::State => &self.state,
        };
        match self.models[0].damage {
            Some((content, Damage::Full)) => disk(content).free()?,
            Some((content, Damage::ReadOnly)) => disk(content).allow_writing()?,
            None => {}
        }
        match damage {
            Some((content, Damage::Full)) => disk(content).fill()?,
            Some((content, Damage::ReadOnly)) => disk(content).forbid_writing()?,
            None => {}
        }
        self.each(|model| model.damage = damage);
        Ok(())
    }

    fn each(&mut self, change: impl Fn(&mut Model)) {
        self.models.iter_mut().for_each(change);
    }

    /// Mends everything and has the files count: then nothing is left to warn of.
    pub(crate) fn calm(&mut self, policy: usize) -> Result<()> {
        self.damage(None)?;
        // A trial would be in the way.
        self.run(&[Command::Rollback(None)])?;
        self.edit(policy)?;
        self.run(&[Command::Reload])?;
        let warnings = self.world.status()?["warnings"].take();
        ensure!(warnings == Value::Array(Vec::new()), "{warnings}");
        ensure!(self.enforced()? == policy, "{policy} is not enforced");
        Ok(())
    }

    /// A generation of the history, with the policy that it was.
    pub(crate) fn earlier(
        &self,
        choose: impl FnOnce(usize) -> usize,
    ) -> Result<Option<(u64, usize)>> {
        let history = self.world.ask(&["history"])?;
        let entries = history["generations"].as_array().context("no list")?;
        let entry = &entries[choose(entries.len())];
        let policy = self.texts.get(&entry["policy"].to_string());
        Ok(entry["generation"].as_u64().zip(policy.copied()))
    }
}
