//! What guests with `log = kmsg` write, on its way to the kernel's log: a record a line, so many in a while, of each guest
//! and of all of them. Writing there never waits.

use core::fmt::Write;

use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::limits;
use crate::sys::device;

/// Bytes of a line in one record; the kernel takes 992 with what stands before. A longer one goes into several.
const LINE_BYTES: usize = 800;
/// Bytes of a record: the line, each byte of which may take three as text, and what stands before it.
const RECORD_BYTES: usize = 976;

/// What of its share somebody has used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    /// The number of the while that it was used in.
    window: u32,
    used: u16,
    /// Lines that had no place.
    left_out: u32,
}

impl Share {
    /// Nothing of it.
    pub const NONE: Share = Share { window: 0, used: 0, left_out: 0 };

    /// Goes on to the while of now. How many lines had no place before.
    fn go_on(&mut self, now_ms: u64) -> u32 {
        let window = (now_ms / limits::KMSG_WINDOW_MS) as u32;
        if window == self.window {
            return 0;
        }
        (self.window, self.used) = (window, 0);
        core::mem::take(&mut self.left_out)
    }
}

/// The way there.
#[derive(Debug, Default)]
pub struct Kmsg {
    file: Option<OwnedFd>,
    all: Share,
}

impl Kmsg {
    /// Opens it, where it is not open yet.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(&mut self) -> Result<(), Errno> {
        if self.file.is_none() {
            self.file = Some(device::open(c"/dev/kmsg", OFlags::WRONLY | OFlags::NONBLOCK)?);
        }
        Ok(())
    }

    /// Brings what a guest wrote there, a record a line.
    pub fn write(&mut self, name: &str, share: &mut Share, bytes: &[u8], now_ms: u64) {
        self.all.go_on(now_ms);
        let left_out = share.go_on(now_ms);
        self.tell(name, left_out);
        for line in bytes.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            for part in line.chunks(LINE_BYTES) {
                if share.used >= limits::KMSG_LINES.0 || self.all.used >= limits::KMSG_LINES.1 {
                    share.left_out = share.left_out.saturating_add(1);
                    continue;
                }
                share.used += 1;
                self.all.used += 1;
                self.send(format_args!("{name}: "), part);
            }
        }
    }

    /// Tells how much had no place, of a guest that has ended.
    pub fn finish(&self, name: &str, share: &mut Share) {
        self.tell(name, core::mem::take(&mut share.left_out));
    }

    fn tell(&self, name: &str, left_out: u32) {
        if left_out > 0 {
            self.send(format_args!("{name}: {left_out} lines left out"), b"");
        }
    }

    fn send(&self, words: core::fmt::Arguments<'_>, line: &[u8]) {
        let Some(file) = &self.file else { return };
        let mut record = Record(heapless::Vec::new());
        // As a program's, not the kernel's own: 1 is the facility, 6 says that it is information (syslog(3)). It fits.
        let _ = write!(record, "<14>inn: {words}");
        for chunk in line.utf8_chunks() {
            // What is no text takes more room as what stands for it, and may be cut.
            let _ = record.write_str(chunk.valid());
            let _ = record.write_str(if chunk.invalid().is_empty() { "" } else { "\u{fffd}" });
        }
        // There is room for it.
        let _ = record.0.push(b'\n');
        let _ = rustix::io::write(file, &record.0);
    }
}

struct Record(heapless::Vec<u8, { RECORD_BYTES + 1 }>);

impl Write for Record {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for c in text.chars() {
            let mut utf8 = [0; 4];
            // What moves a cursor must not reach whoever reads the kernel's log.
            let c = if c.is_control() { '?' } else { c };
            let utf8 = c.encode_utf8(&mut utf8).as_bytes();
            let fits = self.0.len() + utf8.len() <= RECORD_BYTES;
            if !fits || self.0.extend_from_slice(utf8).is_err() {
                return Err(core::fmt::Error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log made of a pipe, and its other end.
    fn piped() -> (Kmsg, OwnedFd) {
        let (read, write) = rustix::pipe::pipe().unwrap();
        rustix::io::ioctl_fionbio(&read, true).unwrap();
        (Kmsg { file: Some(write), all: Share::default() }, read)
    }

    fn lines(read: &OwnedFd) -> std::vec::Vec<std::string::String> {
        let mut all = std::vec![];
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = rustix::io::read(read, &mut buffer) {
            all.extend_from_slice(&buffer[..count]);
        }
        std::string::String::from_utf8(all).unwrap().lines().map(std::string::String::from).collect()
    }

    #[test]
    fn a_line_is_a_record_that_prints() {
        let (mut kmsg, read) = piped();
        kmsg.write("web", &mut Share::default(), b"one\r\n\ntw\x1b[2Jo\xff\n\xc3\xa9", 0);
        assert_eq!(lines(&read), ["<14>inn: web: one", "<14>inn: web: tw?[2Jo\u{fffd}", "<14>inn: web: \u{e9}"]);
        kmsg.write("web", &mut Share::default(), &[b'x'; 3 * LINE_BYTES], 0);
        assert_eq!(lines(&read).len(), 3);
        kmsg.write("web", &mut Share::default(), &[0xff; 4000], 0);
        assert!(lines(&read).iter().all(|line| line.len() <= 992));
    }

    #[test]
    fn a_flood_has_its_share_and_is_counted_and_others_have_theirs() {
        let (mut kmsg, read) = piped();
        let (mut flood, mut other) = (Share::default(), Share::default());
        for _ in 0..10 {
            kmsg.write("flood", &mut flood, &b"y\n".repeat(100), 1);
        }
        kmsg.write("other", &mut other, b"hello\n", 1);
        let shown = lines(&read);
        assert_eq!(shown.len(), usize::from(limits::KMSG_LINES.0) + 1);
        assert_eq!(shown.last().unwrap(), "<14>inn: other: hello");
        kmsg.write("flood", &mut flood, b"z\n", 1 + limits::KMSG_WINDOW_MS);
        assert_eq!(lines(&read), ["<14>inn: flood: 950 lines left out", "<14>inn: flood: z"]);
        // All together have less than each could.
        for n in 0..100 {
            let mut share = Share::default();
            kmsg.write("many", &mut share, &b"y\n".repeat(50), 3 * limits::KMSG_WINDOW_MS + n);
            let count = if n < 4 { 50 } else { 0 };
            assert_eq!(lines(&read).len(), count, "{n}");
            kmsg.finish("many", &mut share);
            assert_eq!(lines(&read).len(), usize::from(count == 0));
        }
    }
}
