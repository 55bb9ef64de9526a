//! What the tests that cross crates have in common.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use shared::geometry::Size;

/// The project's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests lies in the root")
        .to_path_buf()
}

/// The folder of a real data set, or `None` with a word on stderr: the test is skipped.
pub fn wbc_data(set: &str) -> Option<PathBuf> {
    let data =
        std::env::var_os("WBC_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from);
    let found = Some(data.join(set)).filter(|path| path.is_dir());
    if found.is_none() {
        eprintln!("skipped: no WBC_DATA");
    }
    found
}

/// Raw heads of a canvas, finest level first.
pub type Heads = Vec<Vec<f32>>;

/// Writes what a runtime made of canvases in the layout that `tests/onnx_parity.py` describes.
///
/// # Errors
/// When the disk refuses.
pub fn dump_heads(
    runtime: &str,
    folder: &Path,
    canvases: &[Vec<u8>],
    heads: &[Heads],
) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut fields = Vec::new();
    for (index, (canvas, levels)) in canvases.iter().zip(heads).enumerate() {
        let canvas_name = format!("canvas_{index}.u8");
        fs::write(folder.join(&canvas_name), canvas)?;
        let mut names = Vec::new();
        for (level, values) in levels.iter().enumerate() {
            let name = format!("heads_{index}_{level}.f32");
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            fs::write(folder.join(&name), bytes)?;
            names.push(name);
        }
        fields.push(serde_json::json!({ "canvas": canvas_name, "heads": names }));
    }
    let index = serde_json::json!({ "runtime": runtime, "fields": fields });
    fs::write(folder.join("index.json"), index.to_string())
}

/// A picture's size and the heads that a runtime made of its canvas.
pub struct Dumped {
    /// Name in the dump.
    pub image: String,
    /// Size of the picture, pixels.
    pub size: Size,
    /// Raw heads, finest level first.
    pub heads: Heads,
}

/// Reads the heads of a dump of the pictures of `pictures`, the file of `dump_canvases`.
///
/// # Errors
/// When a file is missing or not as described, or the two are of different pictures.
pub fn read_dump(pictures: &Path, folder: &Path) -> Result<Vec<Dumped>, Box<dyn Error>> {
    #[derive(Deserialize)]
    struct Pictured {
        image: String,
        size: Size,
    }
    #[derive(Deserialize)]
    struct Index {
        fields: Vec<Field>,
    }
    #[derive(Deserialize)]
    struct Field {
        heads: Vec<String>,
    }
    let pictures: Vec<Pictured> = serde_json::from_slice(&fs::read(pictures)?)?;
    let index: Index = serde_json::from_slice(&fs::read(folder.join("index.json"))?)?;
    if index.fields.len() != pictures.len() {
        let (got, expected) = (index.fields.len(), pictures.len());
        return Err(format!("{}: {got} fields, expected {expected}", folder.display()).into());
    }
    let read = |name: &String| -> std::io::Result<Vec<f32>> {
        let bytes = fs::read(folder.join(name))?;
        let values = bytes.as_chunks::<4>().0.iter();
        Ok(values.map(|&bytes| f32::from_le_bytes(bytes)).collect())
    };
    let dumped = |(Pictured { image, size }, field): (Pictured, Field)| {
        let heads: std::io::Result<Heads> = field.heads.iter().map(read).collect();
        Ok(Dumped {
            image,
            size,
            heads: heads?,
        })
    };
    pictures.into_iter().zip(index.fields).map(dumped).collect()
}

/// The Python that `tests/onnx-parity` sets up, or `None` with a word on stderr: nothing is downloaded
/// by a test.
pub fn parity_python() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, |cache| Some(cache.into()))?;
    let found = Some(cache.join("leukoscope/venv/bin/python")).filter(|path| path.is_file());
    if found.is_none() {
        eprintln!("skipped: no ONNX Runtime, tests/onnx-parity sets it up");
    }
    found
}
