//! What SWF's API is to a policy: its actions, and which keys and resource a request for one has.

mod action;

pub use self::action::{Action, condition_key_names, is_condition_key};
