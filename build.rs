//! Links `inn` without the C library: a static executable with no interpreter and no relocation.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/start/discard.ld");
    // `-bins` keeps these from the test harness, which is an ordinary program with std.
    for argument in ["-nostartfiles", "-nostdlib", "-static", "-Wl,--build-id=none", "-Wl,--no-eh-frame-hdr"] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{}/src/start/discard.ld", env!("CARGO_MANIFEST_DIR"));
}
