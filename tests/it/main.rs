//! What crosses crates.

mod architecture;
mod embedded;
#[cfg(feature = "torch")]
mod end_to_end;
#[cfg(feature = "torch")]
mod heads;
#[cfg(feature = "torch")]
mod home;
#[cfg(feature = "torch")]
mod leukemia;
#[cfg(feature = "torch")]
mod parity;
#[cfg(feature = "torch")]
mod quantized;
#[cfg(feature = "torch")]
mod quantized_training;
#[cfg(feature = "torch")]
mod regions;
mod shipped;
#[cfg(feature = "torch")]
mod teacher;
#[cfg(unix)]
mod unit;
