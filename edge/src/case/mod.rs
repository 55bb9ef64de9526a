//! A case: what happened to it, what it therefore is, what is suggested, and what to do next.
//!
//! [`event`] is the only thing that is stored; [`state`] is the fold of the events, and [`legal`] says
//! which it takes. [`decision`] makes a suggestion of a detection, [`advice`] says how many more cells to
//! count, [`order`] what to look at first.
//!
//! Never opens a file, reads a clock or draws a random number: when an event happened, in which order
//! and whether it is on disk is the store's business.

pub mod advice;
pub mod decision;
pub mod event;
pub mod legal;
pub mod order;
pub mod state;
pub mod text;

#[cfg(test)]
mod tests;
