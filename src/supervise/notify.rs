//! What a guest says of itself on its notification socket (sd_notify(3)). Pure. All of it is the guest's word: it is believed
//! about the guest itself, and about nothing else.

use crate::limits;
use crate::text;

/// One notification, as far as it is understood; fields that are not are left out, FDSTORE and those of systemd's own too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notification<'a> {
    /// `READY=1`
    pub is_ready: bool,
    /// `RELOADING=1`, until the next `READY=1`.
    pub is_reloading: bool,
    /// `STOPPING=1`
    pub is_stopping: bool,
    /// `WATCHDOG=1`: it is well.
    pub is_well: bool,
    /// `WATCHDOG=trigger`: it is not.
    pub is_ill: bool,
    /// `WATCHDOG_USEC=`: how often it will say that it is well, microseconds; 0 for never.
    pub watchdog_us: Option<u64>,
    /// `MAINPID=` or `MAINPIDFDID=`: it names another main process.
    pub names_main_process: bool,
    /// `STATUS=`: a line for people.
    pub status: Option<&'a [u8]>,
}

/// Reads a notification. Where it `is_cut`, its last line is not whole.
#[must_use]
pub fn parse(bytes: &[u8], is_cut: bool) -> Notification<'_> {
    let mut said = Notification::default();
    let mut lines = bytes.split(|byte| matches!(byte, b'\n' | b'\0')).peekable();
    while let Some(line) = lines.next() {
        let is_whole = !is_cut || lines.peek().is_some();
        let Some(at) = line.iter().position(|byte| *byte == b'=') else { continue };
        let (Some(field), Some(value)) = (line.get(..at), line.get(at + 1..)) else { continue };
        match (field, value) {
            // Half a line for people is better than none.
            (b"STATUS", text) => said.status = Some(text),
            _ if !is_whole => {}
            (b"READY", b"1") => said.is_ready = true,
            (b"RELOADING", b"1") => said.is_reloading = true,
            (b"STOPPING", b"1") => said.is_stopping = true,
            (b"WATCHDOG", b"1") => said.is_well = true,
            (b"WATCHDOG", b"trigger") => said.is_ill = true,
            (b"WATCHDOG_USEC", number) => said.watchdog_us = text::number(number).or(said.watchdog_us),
            (b"MAINPID" | b"MAINPIDFDID", _) => said.names_main_process = true,
            _ => {}
        }
    }
    said
}

/// A line that a guest said, as it is shown to people.
pub type Said = heapless::String<{ limits::SAID_BYTES }>;

/// Keeps of `text` what prints and fits.
pub fn keep(said: &mut Said, text: &[u8]) {
    said.clear();
    let shown = text.utf8_chunks().flat_map(|chunk| {
        let wrong = (!chunk.invalid().is_empty()).then_some('?');
        chunk.valid().chars().map(|c| if c.is_control() || is_unseen(c) { '?' } else { c }).chain(wrong)
    });
    for c in shown {
        if said.push(c).is_err() {
            break;
        }
    }
}

/// Whether a character shows nothing, or has others shown in another order: with those a line could pretend to be another.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_field_is_understood_and_others_are_left_out() {
        let said = parse(
            b"READY=1\nSTATUS=up and well\nMAINPID=1\nWATCHDOG_USEC=2000000\nFDSTORE=1\nX_SYSTEMD_SHUTDOWN=x\n",
            false,
        );
        let status = Some(&b"up and well"[..]);
        let wanted = Notification {
            is_ready: true,
            names_main_process: true,
            watchdog_us: Some(2_000_000),
            status,
            ..Notification::default()
        };
        assert_eq!(said, wanted);
        assert!(parse(b"RELOADING=1\nMONOTONIC_USEC=5", false).is_reloading);
        assert!(parse(b"STOPPING=1", false).is_stopping);
        assert!(parse(b"WATCHDOG=1\0", false).is_well);
        assert!(parse(b"WATCHDOG=trigger", false).is_ill);
        for nothing in
            [&b""[..], b"READY", b"READY=0", b"READY=11", b" READY=1", b"ready=1", b"=", b"=1", b"WATCHDOG_USEC=x"]
        {
            assert_eq!(parse(nothing, false), Notification::default(), "{nothing:?}");
        }
    }

    #[test]
    fn the_last_line_of_one_that_is_cut_counts_for_nothing_but_a_status() {
        assert_eq!(parse(b"WATCHDOG_USEC=50", true).watchdog_us, None);
        assert_eq!(parse(b"READY=1\nSTATUS=a long st", true).status, Some(&b"a long st"[..]));
        assert!(parse(b"READY=1\nSTATUS=a long st", true).is_ready);
    }

    #[test]
    fn a_status_is_cut_and_cannot_move_a_cursor_or_turn_a_line_round() {
        let mut said = Said::new();
        keep(&mut said, b"a\x1b[2Jb\xff\xc3\xa9\xe2\x80\xaec");
        assert_eq!(said, "a?[2Jb?\u{e9}?c");
        keep(&mut said, &[b'x'; 5000]);
        assert_eq!(said.len(), limits::SAID_BYTES);
        keep(&mut said, "\u{e9}".repeat(5000).as_bytes());
        assert!(said.len() >= limits::SAID_BYTES - 1);
        keep(&mut said, b"");
        assert_eq!(said, "");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_notification_and_what_is_kept_of_them_prints(bytes: Vec<u8>, is_cut: bool) {
            let mut said = Said::new();
            keep(&mut said, parse(&bytes, is_cut).status.unwrap_or(&bytes));
            prop_assert!(!said.chars().any(char::is_control));
        }
    }

    use std::vec::Vec;
}
