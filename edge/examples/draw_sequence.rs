//! Draws what a camera shows of a slide under a moving stage, as numbered JPEG files:
//! `cargo run --release -p edge --example draw_sequence -- FOLDER WIDTH HEIGHT FRAMES`.

use std::error::Error;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use edge::frame::Frame;
use edge::source::pace::Rate;
use edge::source::phantom::{Phantom, Walk};
use edge::source::{FrameSource, Received};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use shared::geometry::Size;

/// Of a camera's MJPEG frames, about.
const QUALITY: u8 = 85;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, numbers @ ..] = words.as_slice() else {
        return usage();
    };
    let numbers: Result<Vec<u32>, _> = numbers.iter().map(|it| it.parse()).collect();
    let Ok([width, height, frames]) = numbers.as_deref() else {
        return usage();
    };
    match draw(Path::new(folder), Size::new(*width, *height), *frames) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{folder}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: draw_sequence FOLDER WIDTH HEIGHT FRAMES");
    ExitCode::from(2)
}

fn draw(folder: &Path, size: Size, frames: u32) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let mut walk = Walk::demo(1).in_pixels(size);
    walk.slides = None;
    let mut source = Phantom::new(walk, Rate::Free, Instant::now())?;
    let mut frame = Frame::new();
    for number in 0..frames {
        if source.next(Duration::ZERO, &mut frame)? != Received::Frame {
            return Err("the slides are over".into());
        }
        let path = folder.join(format!("{number:06}.jpg"));
        let mut file = BufWriter::new(File::create(path)?);
        let mut encoder = JpegEncoder::new_with_quality(&mut file, QUALITY);
        let (width, height) = (size.width, size.height);
        encoder.encode(&frame.pixels, width, height, ExtendedColorType::Rgb8)?;
        file.into_inner()?;
    }
    Ok(())
}
