//! The station.
