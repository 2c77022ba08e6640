//! swf-filter: the packet gate's daemon and command line.
//!
//! All input and output of the project is here; what a policy means is in `swf-filter-core`, and what a frame gets is in
//! `swf-filter-common`.

pub mod cli;
pub mod config;
mod confine;
pub mod control;
pub mod daemon;
pub mod dataplane;
mod doctor;
pub mod expect;
pub mod explain;
pub mod files;
pub mod keys;
pub mod listener;
mod lock;
mod log;
pub mod observe;
pub mod report;
mod service;
pub mod sources;
pub mod state;
mod toml_reader;
mod top;
mod trust;
mod verdicts;
