//! AWS STS: temporary credentials for users, and for those whom a role trusts.

mod action;

pub use self::action::{Action, KEYS, NAMES, OTHER_KEYS};
