//! What guests print: rings, terminals, and log files.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

use super::{Driver, fault_at, index};
use crate::fault::{Fault, Step};
use crate::limits;
use crate::plan::{GuestId, LogTo};
use crate::supervise::order;
use crate::supervise::poll::{Interest, Part, Source};
use crate::supervise::ring::{APPEND_BYTES, Ring};
use crate::supervise::state::Notice;
use crate::supervise::writer::Progress;
use crate::sys::clock;

impl<'a> Driver<'a> {
    /// The other side of a guest's terminal, while its program runs.
    #[must_use]
    pub fn console_of(&self, id: GuestId) -> Option<BorrowedFd<'_>> {
        let slot = self.slot(id).filter(|slot| slot.is_terminal && slot.process.is_some())?;
        Some(slot.output.as_ref()?.as_fd())
    }

    /// A guest's output; nothing where there is none yet.
    #[must_use]
    pub fn ring(&self, id: GuestId) -> Option<&Ring> {
        self.slot(id)?.ring.as_ref()
    }

    /// The same, made where there is none yet and it is kept at all: whoever wants to see what is written first has to
    /// have it before.
    pub fn need_ring(&mut self, id: GuestId) -> Option<&Ring> {
        let _ = self.make_ring(id);
        self.ring(id)
    }

    /// The same for a console, of which something has to be kept, or nobody could see it.
    pub fn need_console(&mut self, id: GuestId) -> Option<&Ring> {
        let _ = self.make_ring_of(id, limits::LOG_BYTES_DEFAULT);
        self.ring(id)
    }

    pub(super) fn make_ring(&mut self, id: GuestId) -> Result<(), Errno> {
        self.make_ring_of(id, 0)
    }

    pub(super) fn make_ring_of(&mut self, id: GuestId, least_bytes: u64) -> Result<(), Errno> {
        let Some((guest, slot)) = self.plan.guest(id).zip(self.table.slots.get_mut(index(id))) else { return Ok(()) };
        let bytes = guest.log_bytes.max(least_bytes);
        if bytes > 0 && slot.ring.is_none() {
            slot.ring = Some(Ring::new(self.plan.strings.c_str(guest.name), bytes)?);
            if !guest.log_to.path().is_empty() {
                self.writer.renew();
            }
        }
        Ok(())
    }

    /// Makes the rings of those whose logs are files, so that the process that writes them need not be started for each.
    pub fn prepare_logs(&mut self) {
        for id in self.ids() {
            if self.guest(id).is_some_and(|guest| !guest.log_to.path().is_empty()) {
                // It is made at its start otherwise, or that fails.
                let _ = self.make_ring(id);
            }
        }
    }

    /// Sees to it that log files are written.
    pub fn keep_logs(&mut self, now_ms: u64) {
        let (slots, plan) = (&self.table.slots, &*self.plan);
        let rings = order::ids(slots.len()).zip(slots.iter()).filter_map(|(id, slot)| Some((id, slot.ring.as_ref()?)));
        if let Err(errno) = self.writer.keep(plan, rings, self.poll, now_ms) {
            self.journal.trouble("start what writes log files", errno, now_ms);
        }
    }

    /// Looks at the process that writes them.
    pub fn look_at_logs(&mut self, now_ms: u64) {
        // What it said comes before its end.
        while let Some(report) = self.writer.take_report() {
            self.announce(report.id, report.fault.map_or(Notice::LogWritten, Notice::LogTrouble));
        }
        if self.writer.look(self.poll, now_ms) {
            self.journal.error(format_args!("the process that writes log files has ended; it is started again"));
        }
        let slots = &self.table.slots;
        let passed = |id| slots.get(index(id)).and_then(|slot| slot.ring.as_ref()?.passed().ok());
        match self.writer.check(passed, now_ms) {
            None => {}
            Some(Progress::GoesOn(id)) => self.announce(id, Notice::LogWritten),
            Some(Progress::Late(id)) => {
                let fault = Fault { step: Step::LogFileLate, errno: libc::ETIMEDOUT as u16, detail: 0 };
                self.announce(id, Notice::LogTrouble(fault));
            }
        }
    }

    /// Has all logs written to their files. Whether that is over.
    pub fn finish_logs(&mut self, now_ms: u64) -> bool {
        self.look_at_logs(now_ms);
        self.writer.finish(self.poll, now_ms)
    }

    pub(super) fn console(&mut self, id: GuestId, master: OwnedFd, now_ms: u64) {
        let Some(slot) = self.table.slots.get_mut(index(id)) else { return };
        if let Some(pipe) = slot.output.take() {
            self.poll.close(pipe);
        }
        slot.is_terminal = true;
        let master = slot.output.insert(master);
        // It blocks where the guest made it so.
        let set = rustix::fs::fcntl_setfl(&*master, rustix::fs::OFlags::NONBLOCK);
        let source = Source::Guest(Part::Output, id);
        let watched = set.and_then(|()| self.poll.watch(master.as_fd(), source, Interest::NewlyReadable));
        if let Err(errno) = watched {
            self.start_failed(id, fault_at(Step::ReportTerminal)(errno), now_ms);
        }
    }

    pub(super) fn output(&mut self, id: GuestId) {
        let read = self.read_output(id);
        let Some(slot) = self.table.slots.get_mut(index(id)) else { return };
        let Some(output) = &slot.output else { return };
        match read {
            // It is said only once that there is something; there may be more.
            Some(1..) if slot.is_terminal => {
                let _ = self.poll.change(output.as_fd(), Source::Guest(Part::Output, id), Interest::NewlyReadable);
            }
            // Nobody has the guest's side open: of a terminal somebody may open it again.
            Some(0) if !slot.is_terminal => {
                if let Some(output) = slot.output.take() {
                    self.poll.close(output);
                    self.note_stale(id);
                }
            }
            Some(_) | None => {}
        }
    }

    /// Moves what there is to read, one buffer of it at most, into the log; how much that was, 0 for the end. Nothing
    /// where there is nothing to read now.
    pub(super) fn read_output(&mut self, id: GuestId) -> Option<usize> {
        let slot = self.table.slots.get_mut(index(id))?;
        let mut buffer = [0; APPEND_BYTES];
        let count = match rustix::io::read(slot.output.as_ref()?, &mut buffer) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => return None,
            // EIO: of a terminal, the guest's side is closed. Others mean that nothing can be read at all.
            Err(_) => 0,
        };
        self.keep_output(id, buffer.get(..count).unwrap_or_default());
        Some(count)
    }

    /// Keeps what was printed by a guest, or by its hooks, where the config says.
    pub(super) fn keep_output(&mut self, id: GuestId, bytes: &[u8]) {
        let Some(slot) = self.table.slots.get_mut(index(id)) else { return };
        if let Some(ring) = &mut slot.ring {
            // No memory: what the guest said is lost, and it does not wait for us.
            let _ = ring.append(bytes, clock::boot_us());
            if self.plan.guest(id).is_some_and(|guest| !guest.log_to.path().is_empty()) {
                self.writer.expect(id, ring.written(), clock::now_ms());
            }
        }
        let to_kernel = self.plan.guest(id).filter(|guest| guest.log_to == LogTo::Kernel);
        if let Some((guest, share)) = to_kernel.zip(self.table.kmsg.get_mut(index(id))) {
            let name = self.plan.strings.str(guest.name);
            self.kmsg.write(name, share, bytes, clock::now_ms());
        }
    }
}
