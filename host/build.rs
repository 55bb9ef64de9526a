//! Compiles the C++ shim against the headers beside libtorch, and tells the linker where libtorch
//! lies, so that neither binaries nor tests need `LD_LIBRARY_PATH`.

use std::path::Path;

const SOURCES: [&str; 2] = ["src/engine/shim.cpp", "src/engine/gloo.cpp"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/engine/text.h");
    println!("cargo::rerun-if-changed=src/engine/stand_in");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    let lib = std::env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys says where libtorch lies");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");
    let include = match std::env::var("LIBTORCH_INCLUDE") {
        Ok(folder) => Path::new(&folder).join("include"),
        Err(_) => Path::new(&lib).with_file_name("include"),
    };
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        // Of libtorch's headers; there is no way to ask for ours alone.
        .warnings(false)
        .include(include.join("torch/csrc/api/include"))
        .include(include)
        .include("src/engine/stand_in")
        .define("USE_C10D_GLOO", None)
        .files(SOURCES)
        .compile("leuko_engine");
}
