//! Clients that mean harm, and machines that have bad luck: what the listener makes of both.

mod crowds;
mod hellos;
mod life;
mod proxied;
mod requests;
mod scan;
mod stage;
