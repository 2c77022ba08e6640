//! Which files can be opened (landlock(7)).
//!
//! As much is enforced as the kernel knows: 5.13 has the basics, 6.2 keeps files from being cut, 6.10 keeps devices from being
//! told anything. Connecting to sockets is not restricted; those who listen know whom they let in.

use landlock::{
    ABI, Access, AccessFs, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, make_bitflags, path_beneath_rules,
};

use super::Reach;

/// How much of it the kernel does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enforced {
    /// All.
    Fully,
    /// Nothing.
    Not,
    /// What it knew when it was made.
    Partly,
}

/// The newest rules that this was tried with.
const KNOWN: ABI = ABI::V5;

/// Confines this thread, and those that it makes, to what is in reach.
pub(super) fn confine(reach: &Reach) -> Result<Enforced, RulesetError> {
    let read: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let write = read
        | make_bitflags!(AccessFs::{
            WriteFile | RemoveDir | RemoveFile | MakeDir | MakeReg | MakeSock | Refer | Truncate
        });
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .create()?
        .add_rules(path_beneath_rules(&reach.read, read))?
        .add_rules(path_beneath_rules(&reach.write, write))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Enforced::Fully,
        RulesetStatus::NotEnforced => Enforced::Not,
        RulesetStatus::PartiallyEnforced => Enforced::Partly,
    })
}
