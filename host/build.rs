//! Tells the linker where libtorch lies, so that neither binaries nor tests need `LD_LIBRARY_PATH`,
//! and the program which source it was made of.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");
    }
    source_commit();
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
