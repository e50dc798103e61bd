//! Links `inn` without the C library: a static executable with no interpreter and no relocation. Tells it its commit.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Whether they differ from the commit, and the linker script.
    for path in ["src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={path}");
    }
    // `-bins` keeps these from the test harness, which is an ordinary program with std.
    for argument in ["-nostartfiles", "-nostdlib", "-static", "-Wl,--build-id=none", "-Wl,--no-eh-frame-hdr"] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{}/src/start/discard.ld", env!("CARGO_MANIFEST_DIR"));
    commit();
}

/// `INN_COMMIT`: the commit that is checked out, and `+` where files differ from it as this is built. Without git, or where this
/// directory is not the top of its repository, nothing: somebody else's commit would be a lie.
fn commit() {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    if git(&["rev-parse", "--show-prefix"]).as_deref() != Some("") {
        return;
    }
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return };
    // Each line of it is a move of HEAD.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| std::path::Path::new(log).exists()) {
        println!("cargo:rerun-if-changed={log}");
    }
    let is_changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|changes| !changes.is_empty());
    println!("cargo:rustc-env=INN_COMMIT={commit}{}", if is_changed { "+" } else { "" });
}
