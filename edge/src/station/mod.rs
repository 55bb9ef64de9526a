//! The appliance at work: `leuko-edge run`.
//!
//! ```text
//! capture ─► mailbox ─► analysis ─► desk ─► store
//!  (source)  (newest)   (gate, map,  ▲ │
//!                        network)    │ └──► page (thread `http`)
//!                                    └───── commands of people
//! ```
//! [`start`] makes everything or says why not, [`run`] starts the threads and ends them. [`capture`] and
//! [`analysis`] decide nothing about a case: what is counted, and by which rules, they read from the
//! [`plan`] that the [`desk`] writes, and the desk alone records. A field counts when its record is on
//! the disk, not before: the analysis waits for that.

pub mod analysis;
pub mod capture;
pub mod counted;
pub mod desk;
pub mod gauge;
pub mod health;
pub mod ledger;
pub mod mailbox;
pub mod numbers;
mod orders;
mod owed;
pub mod plan;
mod reopen;
pub mod resume;
pub mod run;
pub mod scale;
pub mod settings;
pub mod shared;
pub mod show;
pub mod start;
#[cfg(test)]
mod tests;
