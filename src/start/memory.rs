//! The memory functions that the compiler calls and a C library would supply (ISO C 7.24).
//!
//! Written so that the compiler cannot turn a loop back into a call of the function it is in: x86_64 uses the string
//! instructions (fast on every processor since ERMS), others go word by word through volatile accesses.

use core::ffi::{c_char, c_int};

/// Copies `n` bytes that do not overlap.
///
/// # Safety
/// As ISO C `memcpy`: `to` and `from` are valid for `n` bytes and do not overlap.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: both ranges are valid for `n` bytes, upheld by the caller; the direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!("rep movsb", inout("rcx") n => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    for i in 0..n {
        // SAFETY: `i < n`, and both ranges are valid for `n` bytes, upheld by the caller.
        unsafe { copy_byte(to, from, i) };
    }
    to
}

/// Copies `n` bytes that may overlap.
///
/// # Safety
/// As ISO C `memmove`: `to` and `from` are valid for `n` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= n {
        // SAFETY: going forwards never overwrites a byte not yet read, for `to` is not inside `from`'s range.
        return unsafe { memcpy(to, from, n) };
    }
    for i in (0..n).rev() {
        // SAFETY: `i < n`, and both ranges are valid for `n` bytes, upheld by the caller.
        unsafe { copy_byte(to, from, i) };
    }
    to
}

/// Copies the byte at index `i`.
///
/// # Safety
/// `to` and `from` are valid at `i`.
unsafe fn copy_byte(to: *mut u8, from: *const u8, i: usize) {
    // SAFETY: `from` is valid at `i`, upheld by the caller.
    let byte = unsafe { from.wrapping_add(i).read_volatile() };
    // SAFETY: `to` is valid at `i`, upheld by the caller.
    unsafe { to.wrapping_add(i).write_volatile(byte) }
}

/// Fills `n` bytes with `byte`.
///
/// # Safety
/// As ISO C `memset`: `to` is valid for `n` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: c_int, n: usize) -> *mut u8 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the range is valid for `n` bytes, upheld by the caller; the direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!("rep stosb", inout("rcx") n => _, inout("rdi") to => _, in("al") byte as u8,
            options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    for i in 0..n {
        // SAFETY: `i < n`, and the range is valid for `n` bytes, upheld by the caller.
        unsafe { to.wrapping_add(i).write_volatile(byte as u8) };
    }
    to
}

/// Compares `n` bytes.
///
/// # Safety
/// As ISO C `memcmp`: `a` and `b` are valid for `n` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> c_int {
    for i in 0..n {
        // SAFETY: `i < n`, and the range is valid for `n` bytes, upheld by the caller.
        let left = unsafe { a.wrapping_add(i).read_volatile() };
        // SAFETY: as above.
        let right = unsafe { b.wrapping_add(i).read_volatile() };
        if left != right {
            return c_int::from(left) - c_int::from(right);
        }
    }
    0
}

/// Compares `n` bytes for equality only.
///
/// # Safety
/// As [`memcmp`].
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> c_int {
    // SAFETY: the same contract, upheld by the caller.
    unsafe { memcmp(a, b, n) }
}

/// The length of a C string.
///
/// # Safety
/// As ISO C `strlen`: `s` is a NUL-terminated string.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(s: *const c_char) -> usize {
    let mut n = 0;
    // SAFETY: no byte before index `n` is NUL, so the string goes at least to `n`, upheld by the caller.
    while unsafe { s.wrapping_add(n).read_volatile() } != 0 {
        n += 1;
    }
    n
}
