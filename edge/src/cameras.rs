//! `leuko-edge cameras`: what is plugged in, for whoever writes the configuration.

use std::io::Write;

use clap::Args;

use crate::exit::{self, Failure};

/// Arguments of `cameras`.
#[derive(Args, Clone, Copy, Debug)]
pub struct Cameras {
    /// Print the list as JSON
    #[arg(long)]
    pub json: bool,
}

/// Why no camera can be listed.
#[derive(Debug, thiserror::Error)]
pub enum CamerasError {
    /// The program was built without cameras.
    #[error("this program was built without the feature `camera`, expected one with it")]
    NotBuilt,
    /// There are nodes, and none can be asked.
    #[error("{0}")]
    Closed(String),
}

impl CamerasError {
    /// The code of the process.
    pub fn code(&self) -> u8 {
        match self {
            Self::NotBuilt => exit::FAILURE,
            Self::Closed(_) => exit::DEVICE,
        }
    }
}

/// Lists them.
///
/// # Errors
/// When the program knows no cameras, or none that is there can be asked.
#[cfg(not(feature = "camera"))]
pub fn run(_: &Cameras, _: &mut dyn Write) -> Result<(), Failure> {
    Err(CamerasError::NotBuilt.into())
}

/// Lists them.
///
/// # Errors
/// When the program knows no cameras, or none that is there can be asked.
#[cfg(feature = "camera")]
pub fn run(args: &Cameras, print: &mut dyn Write) -> Result<(), Failure> {
    let found = crate::source::camera::offers();
    if found.cameras.is_empty() && !found.closed.is_empty() {
        return Err(CamerasError::Closed(found.closed.join("; ")).into());
    }
    if args.json {
        return crate::commands::print_json(print, &found);
    }
    for camera in &found.cameras {
        writeln!(print, "{camera}\n")?;
    }
    for closed in &found.closed {
        eprintln!("{closed}");
    }
    if found.cameras.is_empty() {
        eprintln!("no camera is plugged in");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_cameras_or_a_program_without_them_says_so() {
        let mut printed = Vec::new();
        let outcome = run(&Cameras { json: true }, &mut printed);
        let text = String::from_utf8(printed).unwrap();
        match outcome {
            Ok(()) => {
                let found: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert!(cfg!(feature = "camera") && found["cameras"].is_array());
            }
            Err(Failure::Cameras(error)) => {
                let expected = match error {
                    CamerasError::NotBuilt => !cfg!(feature = "camera"),
                    CamerasError::Closed(_) => cfg!(feature = "camera"),
                };
                assert!(expected && text.is_empty(), "{error}");
            }
            Err(other) => panic!("{other}"),
        }
    }
}
