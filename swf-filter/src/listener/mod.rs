//! The listener: the process that faces the network.
//!
//! It terminates TLS, verifies who signed a request, asks the policy's documents, and forwards what they allow. It holds no
//! privilege of the kernel and no part of the packet gate; the daemon holds these, and never reads a byte from the network.

pub mod audit;
pub mod guard;
pub mod limits;
pub mod request;
pub mod settings;
pub mod upstream;
pub mod sockets;
pub mod tls;
pub mod watch;
