//! What the kernel program and user space share: how a frame is read, how it is judged, and how tables lie in memory.
//!
//! The same functions run inside the XDP program, in `swf-filter explain`, in tests and in fuzzing, so that they cannot
//! disagree. Everything is `no_std`, allocates nothing, and is written for the kernel's verifier: bounded loops,
//! `#[inline(always)]`, and access to bytes through traits instead of slices, which the verifier refuses.

#![no_std]
#![forbid(unsafe_code)]
#![allow(
    clippy::inline_always,
    reason = "the kernel program is one function: calls cost the verifier's knowledge of bounds"
)]

pub mod abi;
pub mod fingerprint;
pub mod forest;
pub mod frame;
pub mod image;
pub mod reason;
pub mod verdict;

#[cfg(test)]
extern crate std;
