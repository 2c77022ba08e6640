//! AWS STS: temporary credentials for users, and for those whom a role trusts.
//!
//! A call goes through three types. [`Call::read`] takes it out of a form, or refuses it. [`decide()`] says what it comes to for
//! who asks: an [`Outcome`], which may hold a new [`Session`](crate::session::Session). Its answer is XML, as is that of each
//! [`Fault`], so that clients of AWS understand both. Nothing is kept: a session is sealed into its token, and forgotten.
//!
//! There is no MFA, no federation and no managed policy here. What asks for them is refused, and never done without.

mod action;
mod answer;
mod call;
mod decide;
mod fault;

pub use self::action::{Action, KEYS, NAMES, OTHER_KEYS};
pub use self::answer::{Answer, CONTENT_TYPE};
pub use self::call::{AssumeRole, Call, MAX_BODY};
pub use self::decide::{Asker, Lots, Outcome, decide};
pub use self::fault::Fault;

#[cfg(test)]
mod tests;
