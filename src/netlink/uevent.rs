//! What the kernel says of devices: `ACTION@PATH`, then `KEY=VALUE` words, each with a NUL behind it
//! (Documentation/ABI/testing/sysfs-uevent, lib/kobject_uevent.c).

/// The multicast group of the kernel's own messages; the others are of programs to each other.
pub const GROUP: u32 = 1;

/// Whether the message says that a device has come which a module may be for.
#[must_use]
pub fn is_wanting(message: &[u8]) -> bool {
    let mut words = message.split(|byte| *byte == 0);
    words.next().is_some_and(|head| head.starts_with(b"add@")) && words.any(|word| word.starts_with(b"MODALIAS="))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_a_device_that_has_come_and_can_have_a_module_is_of_interest() {
        for (message, is_so) in [
            (&b"add@/devices/pci0/1\0ACTION=add\0DEVPATH=/devices/pci0/1\0SUBSYSTEM=pci\0MODALIAS=pci:v1\0SEQNUM=9\0"[..], true),
            (b"remove@/devices/pci0/1\0ACTION=remove\0MODALIAS=pci:v1\0", false),
            (b"add@/devices/virtual/block/loop0\0ACTION=add\0DEVNAME=loop0\0", false),
            (b"add@/x\0XMODALIAS=1\0", false),
            (b"libudev\0add@/x\0MODALIAS=1\0", false),
            (b"", false),
        ] {
            assert_eq!(is_wanting(message), is_so, "{}", String::from_utf8_lossy(message));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(message in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = is_wanting(&message);
        }
    }
}
