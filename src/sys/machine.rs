//! What this machine has: memory, swap, CPUs, processes.

use core::ffi::CStr;

use rustix::fs::{CWD, Mode, OFlags};

use crate::text;

/// Bytes of memory.
#[must_use]
pub fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(info.mem_unit.into())
}

/// Bytes of swap in use as such.
#[must_use]
pub fn swap_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalswap.saturating_mul(info.mem_unit.into())
}

/// Processes and threads that there can be (proc_sys_kernel(5)); nothing where that cannot be read.
#[must_use]
pub fn processes() -> Option<u64> {
    let number = |path| first_number(path, &mut [0; 32]);
    number(c"/proc/sys/kernel/threads-max").map(|threads| {
        // One number is needed for each, and 0 is none.
        number(c"/proc/sys/kernel/pid_max").map_or(threads, |numbers| threads.min(numbers.saturating_sub(1)))
    })
}

/// The CPUs that run, as the kernel lists them: `0-3,7`. Nothing where that cannot be read.
pub fn cpus(buffer: &mut [u8]) -> Option<&[u8]> {
    read(c"/sys/devices/system/cpu/online", buffer).map(<[u8]>::trim_ascii_end)
}

fn first_number(path: &CStr, buffer: &mut [u8]) -> Option<u64> {
    text::number(read(path, buffer)?.trim_ascii_end())
}

fn read<'b>(path: &CStr, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let file = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let len = rustix::io::read(file, &mut *buffer).ok()?;
    buffer.get(..len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory_processes_and_a_cpu() {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        assert_eq!(memory_bytes() >> 10, kib);
        assert!(processes().unwrap() > 100);
        assert!(cpus(&mut [0; 256]).unwrap().starts_with(b"0"));
    }
}
