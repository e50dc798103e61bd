//! Links `inn` without the C library: a static executable with no interpreter and no relocation.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // `-bins` keeps these from the test harness, which is an ordinary program with std.
    for argument in ["-nostartfiles", "-nostdlib", "-static", "-Wl,--build-id=none"] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
