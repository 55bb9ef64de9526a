//! The station's page and interface over HTTP, in a thread of its own.
//!
//! Reads a [`StationView`] that others write, hands [`command::Command`]s to whoever takes them from
//! the [`command::Orders`], and decides nothing itself. Everything is bounded: connections, those of
//! one address, heads, bodies, waits. It has no password; [`guard`] keeps the pages of other sites out.

pub mod command;
pub mod guard;
pub mod metrics;
mod routes;
mod server;
#[cfg(unix)]
pub mod signals;
#[cfg(test)]
mod tests;
pub mod view;
#[cfg(target_os = "linux")]
pub mod watchdog;

pub use server::{Limits, Service, ServiceError};
pub use view::StationView;
