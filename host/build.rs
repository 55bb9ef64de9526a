//! Compiles the C++ shim against the headers beside libtorch, and tells the linker where libtorch
//! lies, so that neither binaries nor tests need `LD_LIBRARY_PATH`, and the program which source it
//! was made of.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folder of the shim.
const SHIM: &str = "src/engine";
/// What is compiled of it.
const SOURCES: [&str; 2] = ["shim.cpp", "gloo.cpp"];
/// Name of the library that becomes of it.
const LIBRARY: &str = "leuko_engine";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={SHIM}");
    let lib = std::env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys says where libtorch lies");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");
    let include = match std::env::var("LIBTORCH_INCLUDE") {
        Ok(folder) => Path::new(&folder).join("include"),
        Err(_) => Path::new(&lib).with_file_name("include"),
    };
    shim(&include);
    source_commit();
}

/// Compiles the shim, where it or libtorch's folder is another than the last time: this program runs
/// with every change of a source, and the compiler takes half a minute.
fn shim(include: &Path) {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where"));
    let stamp = out.join("shim.stamp");
    let sources = stamp_of(include);
    if fs::read(&stamp).is_ok_and(|last| last == sources) {
        println!("cargo::rustc-link-search=native={}", out.display());
        println!("cargo::rustc-link-lib=static={LIBRARY}");
        println!("cargo::rustc-link-lib=stdc++");
        return;
    }
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        // Of libtorch's headers; there is no way to ask for ours alone.
        .warnings(false)
        .include(include.join("torch/csrc/api/include"))
        .include(include)
        .include(format!("{SHIM}/stand_in"))
        .define("USE_C10D_GLOO", None)
        .files(SOURCES.map(|source| format!("{SHIM}/{source}")))
        .compile(LIBRARY);
    // Without a stamp the next build compiles again, which is slow and right.
    let _ = fs::write(stamp, sources);
}

/// Everything that the shim is made of, end to end.
fn stamp_of(include: &Path) -> Vec<u8> {
    let mut stamp = include.as_os_str().as_encoded_bytes().to_vec();
    let mut folders = vec![PathBuf::from(SHIM)];
    let mut files = vec![include.join("torch/csrc/api/include/torch/version.h")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "h" || e == "cpp") {
                files.push(path);
            }
        }
    }
    files.sort();
    for file in files {
        stamp.extend(fs::read(file).unwrap_or_default());
    }
    stamp
}

/// Sets `LEUKO_COMMIT` where this is a checkout, else nothing; `-dirty` behind it where the sources
/// differ from it. The log of `HEAD` grows with every commit and checkout.
fn source_commit() {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "HEAD"]) else {
        return;
    };
    let sources = ["src", "../shared/src"];
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"]);
    for path in sources.iter().copied().chain(log.as_deref()) {
        // A path that is not there would have this run with every build.
        if Path::new(path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let status = [&["status", "--porcelain", "--"], sources.as_slice()].concat();
    let clean = git(&status).is_some_and(|changed| changed.is_empty());
    let suffix = if clean { "" } else { "-dirty" };
    println!("cargo::rustc-env=LEUKO_COMMIT={commit}{suffix}");
}
