//! Commands that change the policy, in any order and at the same time, with kills, boots, broken files and useless disks between them.
//!
//! After each step, packets, `status` and `history` have to be what `docs/operations.md` lets a [`model`] expect.
//! `SWF_FILTER_SEED` chooses another shuffle.

mod crowd;
mod model;

use std::env;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fastrand::Rng;
use swf_filter_tests::wait::patience;

use crowd::Crowd;
use model::{Command, Content, Damage, POLICIES};

const ROUNDS: u32 = 120;
/// The length of trials that end by themselves.
const SHORT: Duration = Duration::from_secs(2);
/// The length of those that somebody has to end.
const LONG: Duration = Duration::from_mins(10);
/// Longer than commands take that nobody disturbs.
const COMMAND: Duration = Duration::from_millis(40);

/// What happens in a round.
#[derive(Clone, Copy, Debug)]
enum Step {
    Boot,
    Break,
    Calm(usize),
    Damage(Content, Damage),
    Edit(usize),
    Hangup,
    Kill,
    KillDuring(Command, Duration),
    Mend,
    Race([Command; 2]),
    Run(Command),
    Wait,
}

fn command(crowd: &Crowd, rng: &mut Rng) -> Result<Command> {
    let policy = rng.usize(..POLICIES);
    Ok(match rng.u8(..8) {
        0 => Command::Apply(policy),
        1 => Command::Confirm,
        2 | 3 => Command::Reload,
        4 => Command::Rollback(None),
        5 => Command::Rollback(crowd.earlier(|count| rng.usize(..count))?),
        6 => Command::Try(policy, SHORT),
        _ => Command::Try(policy, LONG),
    })
}

fn step(crowd: &Crowd, rng: &mut Rng) -> Result<Step> {
    let policy = rng.usize(..POLICIES);
    let contents = [Content::Policies, Content::State];
    let damages = [Damage::Full, Damage::ReadOnly];
    Ok(match rng.u8(..20) {
        0 => Step::Boot,
        1 if crowd.can_edit() => Step::Break,
        2 => Step::Calm(policy),
        3..=5 if crowd.can_edit() => Step::Edit(policy),
        6 => Step::Hangup,
        7 => Step::Kill,
        8 | 9 => {
            let time = COMMAND.mul_f64(rng.f64());
            Step::KillDuring(command(crowd, rng)?, time)
        }
        10 => Step::Mend,
        11..=13 => Step::Race([command(crowd, rng)?, command(crowd, rng)?]),
        14 => Step::Damage(contents[rng.usize(..2)], damages[rng.usize(..2)]),
        15 => Step::Wait,
        _ => Step::Run(command(crowd, rng)?),
    })
}

fn take(crowd: &mut Crowd, step: Step) -> Result<()> {
    match step {
        Step::Boot => crowd.boot()?,
        Step::Break => crowd.edit_badly()?,
        Step::Calm(policy) => crowd.calm(policy)?,
        Step::Damage(content, damage) => crowd.damage(Some((content, damage)))?,
        Step::Edit(policy) => crowd.edit(policy)?,
        Step::Hangup => crowd.hang_up()?,
        Step::Kill => crowd.kill()?,
        Step::KillDuring(command, time) => crowd.kill_during(command, time)?,
        Step::Mend => crowd.damage(None)?,
        Step::Race(commands) => crowd.run(&commands)?,
        Step::Run(command) => crowd.run(&[command])?,
        Step::Wait => crowd.wait(SHORT),
    }
    crowd.check()
}

#[test]
fn whatever_a_crowd_does_to_the_policy_is_as_documented() -> Result<()> {
    let seed = env::var("SWF_FILTER_SEED").ok();
    let seed = seed.map_or(Ok(0x5eed), |seed| seed.parse::<u64>())?;
    println!("SWF_FILTER_SEED={seed}");
    let Some(mut crowd) = Crowd::new("crowd")? else {
        return Ok(());
    };
    let rng = &mut Rng::with_seed(seed);
    let begun = Instant::now();
    for round in 0..ROUNDS / patience() {
        let step = step(&crowd, rng)?;
        println!("{round} {:.1} s: {step:?}", begun.elapsed().as_secs_f64());
        let taken = take(&mut crowd, step);
        taken.with_context(|| {
            format!(
                "seed {seed}, round {round}: {step:?}\n{}",
                crowd.daemon.stderr()
            )
        })?;
    }
    take(&mut crowd, Step::Calm(0))
}
