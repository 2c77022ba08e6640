//! Control of the daemon by the command line: so far the types that both sides share.

pub mod api;
