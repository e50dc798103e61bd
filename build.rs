//! Links `inn` without the C library: a static executable with no interpreter and no relocation. Tells it its commit. Makes the
//! manual and the completions of the tables that the program's parsers use, and puts them beside the program.

// The tables, as the program has them.
#[allow(dead_code, reason = "the program needs more of it")]
#[path = "src/config/key.rs"]
mod key;
#[allow(dead_code, reason = "the program needs more of it")]
#[path = "src/limits.rs"]
mod limits;
#[allow(dead_code, reason = "the program needs more of it")]
#[path = "src/cli/verb.rs"]
mod verb;
#[allow(dead_code, reason = "the program needs more of it")]
#[path = "src/text/words.rs"]
mod words;

// Where the tables look for each other.
mod config {
    pub(crate) use crate::key;
}
mod text {
    pub use crate::words::{word, words};
}

#[path = "src/manual/generate.rs"]
mod docs;

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Whether they differ from the commit, the linker script, and the tables.
    for path in ["src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={path}");
    }
    // `-bins` keeps these from the test harness, which is an ordinary program with std.
    for argument in ["-nostartfiles", "-nostdlib", "-static", "-Wl,--build-id=none", "-Wl,--no-eh-frame-hdr"] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{}/src/start/discard.ld", env!("CARGO_MANIFEST_DIR"));
    commit();
    built_at();
    manual();
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

/// `INN_BUILT_AT`: seconds since 1970, than which no clock that is right is before. SOURCE_DATE_EPOCH says it
/// (reproducible-builds.org), else the commit's own time; without both it is now.
fn built_at() {
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let of_commit = || {
        let output = Command::new("git").args(["log", "-1", "--format=%ct"]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
        text.trim().parse::<u64>().ok()
    };
    let said = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.trim().parse().ok());
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    println!("cargo:rustc-env=INN_BUILT_AT={}", said.or_else(of_commit).unwrap_or_else(now));
}

/// The manual and the completions.
fn manual() {
    println!("cargo:rerun-if-changed=src/manual");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where"));
    // PROFILE/build/innkeep-HASH/out: the program will be in PROFILE.
    let beside = out.ancestors().nth(3).expect("cargo's directories").join("share");
    // Where somebody has removed them, they are made again. They are as old as what they are made by, for what is newer than
    // this run is made again at the next one.
    let age = std::fs::metadata("src/manual/generate.rs").and_then(|metadata| metadata.modified()).expect("its age");
    println!("cargo:rerun-if-changed={}", beside.join(docs::FILES[0].0).display());
    for (path, text) in docs::generate() {
        for to in [out.join("share").join(path), beside.join(path)] {
            std::fs::create_dir_all(to.parent().expect("a directory")).expect("a directory for the manual");
            let written = std::fs::write(&to, &text)
                .and_then(|()| std::fs::File::options().write(true).open(&to)?.set_modified(age));
            written.unwrap_or_else(|error| panic!("{}: {error}", to.display()));
        }
    }
}
