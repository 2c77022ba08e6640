//! A second opinion on every packet, and machines to send packets between.
//!
//! Two halves that do not know each other:
//!
//! * The pure half is written from `docs/policy.md` alone: a [`model`] of a policy, an [`oracle`] that judges a frame by it, a
//!   builder of [`frames`], and a [`generate`] module that makes both from a seed. It shares no code with the crates it checks, so
//!   that a mistake has to be made twice to go unseen. It is slow and plain on purpose.
//! * The kernel half makes network namespaces ([`netns`]) with [`link`]s between them, children that run in them ([`process`]),
//!   sockets inside them ([`net`], [`packet`]), and small [`disk`]s. A [`world`] is a protected host made of these, a [`wire`] says
//!   of single frames what becomes of them, and [`traffic`] of thousands. Everything it makes is removed when its guard is dropped,
//!   also by a panic. A [`manual`] is what documents give a reader to run, with a machine to run it on.

pub mod backend;
pub mod baseline;
pub mod browser;
pub mod client;
pub mod disk;
pub mod figure;
pub mod frames;
pub mod generate;
pub mod http;
pub mod iam;
pub mod link;
pub mod manual;
pub mod model;
pub mod net;
pub mod netns;
pub mod nobody;
pub mod oracle;
pub mod packet;
pub mod process;
pub mod require;
pub mod rivals;
pub mod stage;
pub mod traffic;
pub mod wait;
pub mod wire;
pub mod world;
