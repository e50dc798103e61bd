//! How long the host took to come up, stage by stage. Pure.

/// A stage of coming up. The times of all of them, in this order, count from the kernel's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// The kernel, to its first program.
    Kernel,
    /// What the initramfs did, to the program of the real root.
    Initramfs,
    /// The kernel's own file systems, and the console.
    Base,
    /// The config, read and checked.
    Config,
    /// Kernel modules and settings.
    Modules,
    /// The file systems of the config, checked and mounted, and swap.
    Mounts,
    /// The host's name, its clock, and what it keeps over a boot.
    State,
    /// The guests and services that start with the host, until each is ready or has failed.
    Guests,
}

impl Stage {
    /// How many there are.
    pub const COUNT: usize = Stage::Guests as usize + 1;
    /// The word for each.
    pub const NAMES: &'static str = "kernel\0initramfs\0base\0config\0modules\0mounts\0state\0guests";
}

/// When each stage was over, milliseconds since the kernel started; nothing for one that was not there, or is not over.
pub type Timeline = [Option<u32>; Stage::COUNT];

/// Notes that `stage` is over.
pub fn mark(timeline: &mut Timeline, stage: Stage, boot_us: u64) {
    // After seven weeks nobody waits any more.
    timeline[stage as usize] = Some((boot_us / 1000).min(u32::MAX.into()) as u32);
}

/// How long each stage took, with its name.
pub fn took(timeline: &Timeline) -> impl Iterator<Item = (&'static str, u32)> {
    let mut before = 0;
    crate::text::words(Stage::NAMES).zip(timeline).filter_map(move |(name, over)| {
        let over = (*over)?;
        let took = over.saturating_sub(before);
        before = over;
        Some((name, took))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_takes_the_time_since_the_one_before_it() {
        let mut timeline = Timeline::default();
        for (stage, at_us) in [(Stage::Kernel, 1_500_999), (Stage::Base, 1_520_000), (Stage::Guests, u64::MAX)] {
            mark(&mut timeline, stage, at_us);
        }
        let took: Vec<_> = took(&timeline).collect();
        assert_eq!(took, [("kernel", 1500), ("base", 20), ("guests", u32::MAX - 1520)]);
        assert_eq!(crate::text::words(Stage::NAMES).count(), Stage::COUNT);
    }
}
