//! What is in force and what the files say, as `docs/operations.md` has it.
//!
//! Where time, a race or a useless disk decides, what may hold is a list of models.

use std::time::{Duration, Instant};

use swf_filter_tests::wait::patience;
use swf_filter_tests::world::DEADLINE;

/// How many policies there are.
pub(crate) const POLICIES: usize = 4;

/// What somebody does with the program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Command {
    Apply(usize),
    Confirm,
    Reload,
    /// To the generation before, or to that of this number, which had this policy.
    Rollback(Option<(u64, usize)>),
    Try(usize, Duration),
}

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Damage {
    Full,
    ReadOnly,
}

/// What is on a disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Content {
    Policies,
    State,
}

/// Why what is in force is in force.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Order {
    Files,
    Held,
    /// Until some moment between these two, when this policy comes back.
    Trial(usize, [Instant; 2]),
}

/// What may hold.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Model {
    pub(crate) now: usize,
    pub(crate) order: Order,
    /// The policy that the files say; none if they are broken.
    pub(crate) files: Option<usize>,
    pub(crate) damage: Option<(Content, Damage)>,
    /// Whether the disk may not know what is in force.
    pub(crate) is_behind: bool,
    /// How often another policy came into force.
    changes: usize,
    /// What was in force, and not only tried, and whether the history has it for sure.
    past: Vec<(usize, bool)>,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            now: 0,
            order: Order::Files,
            files: Some(0),
            damage: None,
            is_behind: false,
            changes: 0,
            past: vec![(0, true)],
        }
    }

    pub(crate) fn is_trial(&self) -> bool {
        matches!(self.order, Order::Trial(..))
    }

    /// What may hold by now.
    pub(crate) fn later(&self) -> Vec<Self> {
        let Order::Trial(before, [first, last]) = self.order else {
            return vec![self.clone()];
        };
        let now = Instant::now();
        let mut later = Vec::new();
        if now < last + DEADLINE * patience() {
            later.push(self.clone());
        }
        if now > first {
            later.extend(self.with(before, Order::Held).settled());
        }
        later
    }

    /// What may hold after a start of the daemon.
    pub(crate) fn started(&self) -> Vec<Self> {
        let read = match self.files {
            Some(policy) => self.with(policy, Order::Files),
            None => self.clone(),
        };
        let ordered = |order| Self {
            order,
            ..self.clone()
        };
        match self.order {
            Order::Trial(..) => vec![self.clone()],
            _ if self.is_behind => vec![ordered(Order::Held), ordered(Order::Files), read],
            Order::Files => vec![read],
            Order::Held => self.clone().settled(),
        }
    }

    /// What may hold after a boot: what is not on disk is lost.
    pub(crate) fn booted(&self) -> Vec<Self> {
        if !self.is_behind {
            return self.started();
        }
        let soon = [Duration::ZERO, crate::LONG].map(|time| Instant::now() + time);
        let back = (0..POLICIES).map(|before| Order::Trial(before, soon));
        let orders: Vec<_> = [Order::Files, Order::Held]
            .into_iter()
            .chain(back)
            .collect();
        let any = (0..POLICIES).flat_map(|policy| {
            let with = |order: &Order| self.with(policy, *order);
            orders.iter().map(with).collect::<Vec<_>>()
        });
        let is_behind = true;
        any.map(|any| Self { is_behind, ..any }).collect()
    }

    fn with(&self, policy: usize, order: Order) -> Self {
        let is_behind = self.has_no_state();
        let mut past = self.past.clone();
        if !matches!(order, Order::Trial(..)) {
            past.push((policy, !is_behind));
            past.dedup();
        }
        Self {
            now: policy,
            order,
            is_behind,
            changes: self.changes + usize::from(policy != self.now),
            past,
            ..self.clone()
        }
    }

    fn has_no_state(&self) -> bool {
        matches!(self.damage, Some((Content::State, _)))
    }

    /// Files that say what is held count again, once the disk knows that.
    fn settled(self) -> Vec<Self> {
        if self.order != Order::Held || self.files != Some(self.now) {
            return vec![self];
        }
        let order = Order::Files;
        let settled = Self {
            order,
            ..self.clone()
        };
        if self.has_no_state() {
            vec![settled, self]
        } else {
            vec![settled]
        }
    }

    /// What the daemon may make of a command that was given and had ended at these times, and whether it says that it did.
    fn answered(&self, command: Command, times: [Instant; 2]) -> Vec<(bool, Self)> {
        let refused = vec![(false, self.clone())];
        let done = |policy, order| (true, self.with(policy, order));
        // What needs the disk. What the daemon removes may make room on a full one.
        let written = |policy, order| match self.damage {
            Some((Content::State, Damage::Full)) => vec![done(policy, order), refused[0].clone()],
            Some((Content::State, Damage::ReadOnly)) => refused.clone(),
            _ => vec![done(policy, order)],
        };
        match (command, self.order) {
            (Command::Confirm, Order::Held) => vec![(true, self.clone())],
            (Command::Confirm, Order::Trial(..)) => written(self.now, Order::Held),
            (Command::Rollback(None), Order::Trial(before, _)) => vec![done(before, Order::Held)],
            // The policy before may have had other numbers, too.
            (Command::Rollback(Some((_, policy))), Order::Trial(before, _)) if policy == before => {
                vec![done(policy, Order::Held), refused[0].clone()]
            }
            (Command::Confirm, Order::Files) | (_, Order::Trial(..)) => refused,
            (Command::Apply(policy) | Command::Rollback(Some((_, policy))), _) => {
                vec![done(policy, Order::Held)]
            }
            (Command::Reload, _) => match self.files {
                Some(policy) => vec![done(policy, Order::Files)],
                None => refused,
            },
            (Command::Rollback(None), _) => {
                let others = self.past.iter().rev().filter(|(past, _)| *past != self.now);
                let unsure = others.clone().take_while(|(_, is_sure)| !is_sure).count();
                let first = others.clone().take(unsure + 1);
                let back = first.map(|(policy, _)| done(*policy, Order::Held));
                let none = (others.count() == unsure).then(|| refused[0].clone());
                back.chain(none).collect()
            }
            (Command::Try(policy, _), _) if policy == self.now => refused,
            (Command::Try(policy, length), _) => {
                let ends = times.map(|time| time + length);
                written(policy, Order::Trial(self.now, ends))
            }
        }
    }

    /// What becomes of the files of a command that was done when so much had changed, and whether it says so.
    fn filed(&self, command: Command, changes: usize) -> Vec<(bool, Self)> {
        if matches!(command, Command::Reload | Command::Try(..)) {
            return vec![(true, self.clone())];
        }
        let cannot_write = matches!(self.damage, Some((Content::Policies, _)));
        if self.changes != changes || cannot_write && self.files != Some(self.now) {
            return vec![(false, self.clone())];
        }
        let written = Self {
            files: Some(self.now),
            ..self.clone()
        };
        let is_settled = |model: Self| (model.order == Order::Files, model);
        written.settled().into_iter().map(is_settled).collect()
    }
}

/// How far a command has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Progress {
    Given(Command),
    /// The daemon has answered, when so much had changed, and files are to be written.
    Done(Command, usize),
    Ended(bool),
}

/// A model in which commands run.
pub(crate) type Running = (Model, Vec<Progress>);

/// Where commands may have come to, and what may hold then, if each may be anywhere.
pub(crate) fn interleaved(
    model: &Model,
    commands: &[Command],
    times: [Instant; 2],
) -> Vec<Running> {
    let given = commands.iter().copied().map(Progress::Given).collect();
    let mut all: Vec<Running> = vec![(model.clone(), given)];
    let mut at = 0;
    while let Some((model, progress)) = all.get(at).cloned() {
        let later = model.later().into_iter();
        let mut next: Vec<Running> = later.map(|model| (model, progress.clone())).collect();
        for who in 0..commands.len() {
            for (model, step) in steps(&model, progress[who], times, commands.len() > 1) {
                let mut progress = progress.clone();
                progress[who] = step;
                next.push((model, progress));
            }
        }
        for one in next {
            if !all.contains(&one) {
                all.push(one);
            }
        }
        at += 1;
    }
    all
}

/// What a command may do next.
fn steps(
    model: &Model,
    progress: Progress,
    times: [Instant; 2],
    has_others: bool,
) -> Vec<(Model, Progress)> {
    match progress {
        Progress::Given(command) => {
            let answers = model.answered(command, times).into_iter();
            let mut steps: Vec<_> = answers
                .map(|(is_done, after)| {
                    let done = Progress::Done(command, after.changes);
                    let step = if is_done {
                        done
                    } else {
                        Progress::Ended(false)
                    };
                    (after, step)
                })
                .collect();
            // One at a time: others may write files.
            if has_others && matches!(command, Command::Apply(_) | Command::Reload) {
                steps.push((model.clone(), Progress::Ended(false)));
            }
            steps
        }
        Progress::Done(command, changes) => {
            let ends = model.filed(command, changes).into_iter();
            let ends = ends.flat_map(|(is_said, after)| {
                // Files may be written and no more, if others come between.
                let order = model.order;
                let only_files = Model {
                    order,
                    ..after.clone()
                };
                [(only_files, progress), (after, Progress::Ended(is_said))]
            });
            ends.collect()
        }
        Progress::Ended(_) => Vec::new(),
    }
}
