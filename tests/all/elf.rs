//! The program as a file: static, with nothing of a C library and no heap.

use object::elf::{ET_EXEC, FileHeader64, PT_DYNAMIC, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader, Rela, SectionHeader};
use object::{Endianness, Object, ObjectSymbol};
use std::process::Command;

use crate::must;

/// The target is 192 KiB, which is not reached; this is what must never be passed.
const BYTES: usize = 704 << 10;

type Header = FileHeader64<Endianness>;

#[test]
fn the_program_is_static_and_small() {
    let data = std::fs::read(must::inn()).expect("the program");
    assert!(data.len() <= BYTES, "{} bytes, {BYTES} at most", data.len());
    let header = Header::parse(data.as_slice()).expect("an ELF file");
    let endian = header.endian().expect("a byte order");
    assert_eq!(header.e_type(endian), ET_EXEC);
    for segment in header.program_headers(endian, data.as_slice()).expect("segments") {
        let kind = segment.p_type(endian);
        assert!(kind != PT_INTERP, "it wants an interpreter");
        assert!(kind != PT_DYNAMIC, "it has a dynamic section");
    }
    no_relocation(&data);
}

#[test]
fn the_program_has_no_heap_and_nothing_undefined() {
    let data = std::fs::read(unstripped()).expect("the unstripped program");
    let file = object::File::parse(data.as_slice()).expect("an ELF file");
    let mut count = 0;
    for symbol in file.symbols() {
        let name = symbol.name().expect("a name");
        count += 1;
        assert!(!symbol.is_undefined() || name.is_empty(), "{name} is undefined");
        for allocator in ["__rust_alloc", "__rust_realloc", "__rg_alloc", "__rdl_alloc", "malloc", "alloc::alloc"] {
            assert!(!name.contains(allocator), "{name} belongs to an allocator");
        }
    }
    assert!(count > 10, "{count} symbols: this is not an unstripped program");
    no_relocation(&data);
}

fn no_relocation(data: &[u8]) {
    let header = Header::parse(data).expect("an ELF file");
    let endian = header.endian().expect("a byte order");
    for section in header.sections(endian, data).expect("sections").iter() {
        if let Some((relocations, _)) = section.rela(endian, data).expect("a table of relocations") {
            let first = relocations.first().map(|relocation| relocation.r_offset(endian));
            assert_eq!(first, None, "a relocation is left");
        }
        assert!(section.rel(endian, data).expect("a table of relocations").is_none(), "relocations are left");
    }
}

/// The program as it is released, with its symbols.
pub fn unstripped() -> std::path::PathBuf {
    let directory = must::target().join("unstripped");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(must::project()).args(["build", "--release", "--quiet", "--bin", "inn", "--target-dir"]);
    let built = cargo.arg(&directory).env("CARGO_PROFILE_RELEASE_STRIP", "none").status().expect("cargo starts");
    assert!(built.success(), "cargo build failed");
    directory.join("release/inn")
}

#[test]
fn a_panic_leaves_its_place_and_its_words_and_ends_even_if_the_words_panic() {
    let target = must::target().join("panic");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(must::project())
        .args(["build", "--quiet", "--features", "panic-test", "--target-dir"])
        .arg(&target);
    assert!(cargo.status().expect("cargo starts").success());
    let die = |how| {
        let output =
            Command::new("timeout").arg("60").arg(target.join("debug/inn")).arg(how).output().expect("timeout starts");
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, words) = die("panic");
    assert_eq!(code, Some(70), "{words}");
    let lines: Vec<_> = words.lines().collect();
    assert!(lines[0].starts_with("inn: panic at src/start/mod.rs:"), "{words}");
    assert_eq!(lines[1..], ["inn: panic: as the test asked"]);
    let (code, words) = die("panic-twice");
    assert_eq!(code, Some(70), "{words}");
    assert!(words.starts_with("inn: panic at src/start/panic.rs:") && words.lines().count() == 1, "{words}");
}
