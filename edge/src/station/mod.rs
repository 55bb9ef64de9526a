//! The appliance at work: what stands between capture and analysis, and what it tells of itself.

pub mod health;
pub mod mailbox;
