//! The pure core of swf-filter: what a policy means, and the tables that make the kernel act on it.
//!
//! Nothing here opens a file or a socket, reads a clock or talks to the kernel: every input is an argument, so that
//! every behaviour can be tested, and fuzzed, as a function.

pub mod admission;
pub mod compile;
pub mod credentials;
pub mod iam;
pub mod import;
pub mod judge;
pub mod policy;
pub mod prefix;
pub mod proxy_header;
pub mod seal;
pub mod session;
pub mod sigv4;
pub mod sts;
pub mod swf;
