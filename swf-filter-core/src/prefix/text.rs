//! Reads prefixes.
