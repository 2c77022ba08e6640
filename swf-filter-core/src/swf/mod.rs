//! Amazon SWF as a filter sees it: its actions, what a call is about, and where task tokens come from.
//!
//! A request's body is read for what IAM decides by, and for nothing else: a call that AWS would refuse for other
//! reasons is AWS's to refuse. But what is read is read in one way only, or refused, so that no caller can show the
//! filter one value and AWS another.

mod action;
mod call;
mod finder;
mod json;
mod made_up;
mod token;

pub use self::action::{Action, condition_key_names, is_condition_key};
pub use self::call::{Call, CallFault, Decision, Keys, MAX_BODY, Scope, read_call};
pub use self::finder::TokenFinder;
pub use self::made_up::{ScopeFault, made_up_call};
pub use self::token::{DEFAULT_CAPACITY, MAX_BYTES, TokenCache, TokenFault};

#[cfg(test)]
mod tests;
