//! Fixtures drawn and written here; the tests are below.

use std::fs;
use std::path::Path;

use image::RgbImage;
use tempfile::TempDir;

use super::*;

mod formats;
mod whole_sets;

fn text(path: &Path, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A picture whose pattern depends on `seed`, so that no two look alike.
fn picture(path: &Path, seed: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let pixel = |x: u32, y: u32| {
        let block = (x / 5).wrapping_mul(73_856_093) ^ (y / 5).wrapping_mul(19_349_663);
        let mixed = (block ^ seed.wrapping_mul(83_492_791)).wrapping_mul(2_654_435_761);
        image::Rgb([(mixed >> 24) as u8, (mixed >> 16) as u8, (mixed >> 8) as u8])
    };
    RgbImage::from_fn(100, 80, pixel).save(path).unwrap();
}

fn folder_with_label(label: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    picture(&folder.path().join("images/train/a.png"), 1);
    text(&folder.path().join("labels/train/a.txt"), label);
    folder
}

fn strict(path: &Path) -> String {
    open(path, &OpenOptions::strict()).unwrap_err().to_string()
}

fn lenient(path: &Path) -> Dataset {
    open(path, &OpenOptions::default()).unwrap()
}
