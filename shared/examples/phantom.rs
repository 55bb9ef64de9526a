//! Draws phantom fields to look at: `cargo run --release -p shared --example phantom -- OUTDIR [N]`.
//!
//! Writes N fields of each look, plain and with truth boxes, a walk of the stage, and a contact
//! sheet with one row a class.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use heapless::Vec as Bounded;
use image::RgbImage;
use shared::class::{ClassId, LEUKEMIA_CLASSES};
use shared::geometry::{BBox, Image, Size};
use shared::phantom::{
    FieldSpec, Morphology, N_CLASSES, PhantomCell, StagePath, draw_field, draw_portrait,
};
use shared::pixels::RgbViewMut;

type Truth = Bounded<PhantomCell, 64>;

/// A ready-made look by seed.
type Look = fn(u64) -> FieldSpec;

/// Portraits in a row of the contact sheet.
const PER_CLASS: u64 = 8;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(out) = arguments.next().map(PathBuf::from) else {
        eprintln!("usage: phantom OUTDIR [N]");
        return ExitCode::from(2);
    };
    let count = match arguments
        .next()
        .map(|text| text.to_string_lossy().parse::<u64>())
    {
        None => 4,
        Some(Ok(count)) => count,
        Some(Err(error)) => {
            eprintln!("N: {error}");
            return ExitCode::from(2);
        }
    };
    match write_all(&out, count) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", out.display());
            ExitCode::FAILURE
        }
    }
}

fn write_all(out: &Path, count: u64) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(out)?;
    let looks: [(&str, Look); 3] = [
        ("demo", FieldSpec::demo),
        ("wide", FieldSpec::wide),
        ("randomised", FieldSpec::randomised),
    ];
    for (name, look) in looks {
        for seed in 0..count {
            let spec = look(seed);
            let start = Instant::now();
            let (mut picture, truth) = drawn(&spec)?;
            eprintln!(
                "{name} {seed}: {} cells, {:?}",
                truth.len(),
                start.elapsed()
            );
            picture.save(out.join(format!("{name}_{seed}.png")))?;
            for cell in &truth {
                println!(
                    "{name} {seed} {} {:?}",
                    LEUKEMIA_CLASSES[cell.morphology.class.index()],
                    cell.bbox.xyxy()
                );
                frame(&mut picture, &cell.bbox);
            }
            picture.save(out.join(format!("{name}_{seed}_truth.png")))?;
        }
    }
    for step in StagePath::new(&FieldSpec::demo(0), 0.4, 3, 1) {
        let spec = FieldSpec {
            stage: step.position,
            frame: step.frame,
            ..FieldSpec::demo(0)
        };
        let (picture, _) = drawn(&spec)?;
        picture.save(out.join(format!("stage_{:02}.png", step.frame)))?;
    }
    contact_sheet()?.save(out.join("classes.png"))?;
    Ok(())
}

fn drawn(spec: &FieldSpec) -> Result<(RgbImage, Truth), Box<dyn Error>> {
    let mut picture = RgbImage::new(spec.size.width, spec.size.height);
    let mut truth = Truth::new();
    draw_field(
        spec,
        &mut RgbViewMut::new(&mut picture, spec.size)?,
        &mut truth,
    )?;
    Ok((picture, truth))
}

fn contact_sheet() -> Result<RgbImage, Box<dyn Error>> {
    let side = FieldSpec::analyser(0).size.width;
    let mut sheet = RgbImage::new(side * PER_CLASS as u32, side * N_CLASSES as u32);
    for class in 0..N_CLASSES as u8 {
        for seed in 0..PER_CLASS {
            let spec = FieldSpec::analyser(seed + 100 * u64::from(class));
            let cell =
                Morphology::sample(ClassId(class), spec.seed).ok_or("a class of the table")?;
            let mut portrait = RgbImage::new(side, side);
            let mut view = RgbViewMut::new(&mut portrait, Size::new(side, side))?;
            draw_portrait(&spec, &cell, &mut view, &mut Truth::new())?;
            let (x, y) = (
                i64::from(side) * seed as i64,
                i64::from(side) * i64::from(class),
            );
            image::imageops::replace(&mut sheet, &portrait, x, y);
        }
    }
    Ok(sheet)
}

/// A box of one pixel's width, just outside the cell.
fn frame(picture: &mut RgbImage, bbox: &BBox<Image>) {
    let size = Size::new(picture.width(), picture.height());
    let [x0, y0, x1, y1] = bbox.xyxy().map(|side| side as i32);
    let Ok(mut view) = RgbViewMut::new(picture, size) else {
        return;
    };
    for x in x0 - 1..=x1 {
        view.put(x, y0 - 1, [0, 170, 0]);
        view.put(x, y1, [0, 170, 0]);
    }
    for y in y0 - 1..=y1 {
        view.put(x0 - 1, y, [0, 170, 0]);
        view.put(x1, y, [0, 170, 0]);
    }
}
