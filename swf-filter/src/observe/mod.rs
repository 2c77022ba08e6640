//! What can be seen of daemon and listener without asking over their own sockets: metrics for Prometheus, and a page.
//!
//! It is off unless `[observe]` is there. What is served needs no password, so it is served to this machine only: on a loopback
//! address, or on a unix socket, whose mode decides. It changes nothing, and counts nothing: all comes from what `status` and
//! `rules` answer.

pub(crate) mod gate;
pub(crate) mod requests;
pub(crate) mod server;
pub mod settings;
#[cfg(test)]
mod tests;
mod text;

pub use self::settings::{Dashboard, Listen, Observe};
