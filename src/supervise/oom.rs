//! Processes that the kernel killed because memory was full: what its log says about them. Pure.
//!
//! A record of /dev/kmsg (Documentation/ABI/testing/dev-kmsg) is `PRIORITY,SEQUENCE,TIME,FLAGS;TEXT` and lines of its own
//! behind that; what does not print is escaped. The text is (mm/oom_kill.c, dump_oom_summary):
//!
//! ```text
//! oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=guest,mems_allowed=0,oom_memcg=/inn/web,task_memcg=/inn/web/guest,task=hog,pid=123,uid=1000
//! oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=guest,mems_allowed=0,global_oom,task_memcg=/inn/web/guest,task=hog,pid=123,uid=1000
//! ```
//!
//! A guest chooses the names of its processes, and of the cgroups that it makes: they may look like any of this, but they
//! stand behind what tells whose process it was, and a name between slashes has no slash.

use core::fmt;

use crate::guest::cgroup::SERVICES;
use crate::limits;
use crate::plan::Kind;
use crate::text::number;

/// Bytes of a process's name, at most (TASK_COMM_LEN).
const NAME_BYTES: usize = 16;

/// What was full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// What the guest may have.
    Guest,
    /// A limit that the guest set to a part of itself.
    Inside,
    /// What all guests together may have.
    AllGuests,
    /// The host's memory, or what the host's manager gave the supervisor.
    Host,
}

/// A process that was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Victim {
    name: [u8; NAME_BYTES],
    /// Its number on the host.
    pub pid: u32,
    /// Why.
    pub full: Full,
}

impl Victim {
    /// A process called `name`; what does not print becomes `?`.
    #[must_use]
    pub fn new(name: &[u8], pid: u32, full: Full) -> Victim {
        let mut kept = [0; NAME_BYTES];
        // The kernel writes what does not print, and the backslash, as \xNN.
        let mut rest = name;
        for slot in &mut kept {
            let Some((first, behind)) = rest.split_first() else { break };
            let is_escape = *first == b'\\' && behind.first() == Some(&b'x') && behind.len() >= 3;
            rest = if is_escape { behind.get(3..).unwrap_or_default() } else { behind };
            let prints = !is_escape && (first.is_ascii_graphic() || *first == b' ');
            *slot = if prints { *first } else { b'?' };
        }
        Victim { name: kept, pid, full }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        let end = self.name.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
        core::str::from_utf8(self.name.get(..end).unwrap_or_default()).unwrap_or_default()
    }
}

/// "hog (pid 123)"
impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name(), self.pid)
    }
}

/// What keeps a guest that has the kernel kill it over and over from filling the console: one line of it in a while.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet {
    until_ms: u64,
    held_back: u32,
}

impl Quiet {
    /// Notes that `more` processes were killed. Of how many is to be told now: those of which it was not told before are
    /// among them.
    pub fn note(&mut self, more: u32, now_ms: u64) -> Option<u32> {
        self.held_back = self.held_back.saturating_add(more);
        if self.held_back == 0 || now_ms < self.until_ms {
            return None;
        }
        self.until_ms = now_ms.saturating_add(limits::KILLED_LINE_MS);
        Some(core::mem::take(&mut self.held_back))
    }

    /// When to tell of those that were held back; nothing where there are none.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        (self.held_back > 0).then_some(self.until_ms)
    }
}

/// Processes of a guest that were killed and that nobody was told of yet. The kernel logs a kill and then counts it, and both are
/// read one after the other: either may be ahead.
#[derive(Clone, Copy, Debug, Default)]
pub struct Untold(i32);

impl Untold {
    /// So many more were counted.
    pub fn counted(&mut self, more: u32) {
        self.0 = self.0.saturating_add_unsigned(more);
    }

    /// The log names one, of whom is told.
    pub fn named(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }

    /// Those whom the log, read to its end, does not name: now they are told. Where it is ahead nobody is, and the count of whom it
    /// names is still to come.
    pub fn take_nameless(&mut self) -> Option<u32> {
        let count = u32::try_from(self.0).ok().filter(|count| *count > 0)?;
        self.0 = 0;
        Some(count)
    }
}

/// Whose process was killed, and which, where `record` tells of one of a guest below `base`, or of a service beside it: the
/// cgroup of all guests, below the root of cgroup v2.
#[must_use]
pub fn parse<'r>(record: &'r [u8], base: &[u8]) -> Option<(Kind, &'r [u8], Victim)> {
    let text = kernels_own(record)?.strip_prefix(b"oom-kill:constraint=")?;
    // Whichever is first: the name of a cgroup before it has no slash, and what the guest chose comes behind.
    let in_memcg = find(text, b",oom_memcg=/");
    let global = find(text, b",global_oom,task_memcg=/");
    let of_one = in_memcg.filter(|at| global.is_none_or(|other| *at < other));
    let (full, path) = match of_one {
        Some(at) => {
            let path = text.get(at + 12..)?;
            match below(path, base) {
                Some(_) => (None, path),
                None => {
                    let is_all = path.strip_prefix(base).is_some_and(|rest| rest.starts_with(b",task_memcg=/"));
                    let task = path.get(find(path, b",task_memcg=/")? + 13..)?;
                    (Some(if is_all { Full::AllGuests } else { Full::Host }), task)
                }
            }
        }
        None => (Some(Full::Host), text.get(global? + 24..)?),
    };
    let (kind, name, behind) = below(path, base)?;
    let own = if behind.starts_with(b",") { Full::Guest } else { Full::Inside };
    let (comm, pid) = task(behind)?;
    Some((kind, name, Victim::new(comm, pid, full.unwrap_or(own))))
}

/// The text of a record that the kernel wrote itself, its first line: others cannot take its facility, 0.
fn kernels_own(record: &[u8]) -> Option<&[u8]> {
    let end = record.iter().position(|byte| *byte == b'\n').unwrap_or(record.len());
    let record = record.get(..end)?;
    let text = record.get(find(record, b";")? + 1..)?;
    let priority: u32 = number(record.split(|byte| *byte == b',').next()?)?;
    (priority >> 3 == 0).then_some(text)
}

/// The guest or service that the cgroup `path` belongs to, and what stands behind its name.
fn below<'p>(path: &'p [u8], base: &[u8]) -> Option<(Kind, &'p [u8], &'p [u8])> {
    let rest = path.strip_prefix(base)?;
    let (kind, rest) = match rest.strip_prefix(SERVICES.as_bytes()) {
        Some(rest) => (Kind::Service, rest),
        None => (Kind::App, rest),
    };
    let rest = rest.strip_prefix(b"/")?;
    let fits = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let (name, behind) = rest.split_at_checked(rest.iter().take_while(fits).count())?;
    let ends = matches!(behind.first(), Some(b'/' | b','));
    (ends && !name.is_empty() && name.len() <= limits::NAME_BYTES).then_some((kind, name, behind))
}

/// Name and number, from the text's end: what comes before may have been chosen to look like it.
fn task(text: &[u8]) -> Option<(&[u8], u32)> {
    let text = text.get(..find_last(text, b",uid=")?)?;
    let at = find_last(text, b",pid=")?;
    let pid = number(text.get(at + 5..)?)?;
    let text = text.get(..at)?;
    Some((text.get(find_last(text, b",task=")? + 6..)?, pid))
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn find_last(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).rposition(|window| window == what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<(Kind, String, Victim)> {
        let (kind, name, victim) = parse(text.as_bytes(), b"inn")?;
        Some((kind, String::from_utf8(name.to_vec()).unwrap(), victim))
    }

    fn record(of: &str, task: &str) -> String {
        format!(
            "6,339,5140900,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=guest,mems_allowed=0,{of},task={task},pid=123,uid=100000\n SUBSYSTEM=x\n"
        )
    }

    #[test]
    fn a_guest_over_its_own_limit_is_told_from_one_over_another() {
        let full = |of: &str| read(&record(of, "hog")).map(|(kind, name, victim)| (kind, name, victim.full));
        let web = |full| Some((Kind::App, "web".to_owned(), full));
        assert_eq!(full("oom_memcg=/inn/web,task_memcg=/inn/web/guest"), web(Full::Guest));
        assert_eq!(full("oom_memcg=/inn/web/guest/a,task_memcg=/inn/web/guest/a"), web(Full::Inside));
        assert_eq!(full("oom_memcg=/inn,task_memcg=/inn/web/guest"), web(Full::AllGuests));
        assert_eq!(full("oom_memcg=/innocent,task_memcg=/inn/web/guest"), web(Full::Host));
        assert_eq!(full("global_oom,task_memcg=/inn/web/guest"), web(Full::Host));
        let service = Some((Kind::Service, "sshd".to_owned(), Full::Guest));
        assert_eq!(full("oom_memcg=/inn.services/sshd,task_memcg=/inn.services/sshd/guest"), service);
        assert_eq!(full("oom_memcg=/user.slice,task_memcg=/user.slice"), None);
        assert_eq!(full("global_oom,task_memcg=/"), None);
    }

    #[test]
    fn a_process_is_named_with_its_number_whatever_it_calls_itself() {
        let named = |task: &str| {
            let (.., victim) = read(&record("oom_memcg=/inn/web,task_memcg=/inn/web/guest", task)).unwrap();
            (victim.name().to_owned(), victim.pid)
        };
        assert_eq!(named("hog"), ("hog".into(), 123));
        assert_eq!(named("a,pid=1,uid=0"), ("a,pid=1,uid=0".into(), 123));
        assert_eq!(named("two words"), ("two words".into(), 123));
        assert_eq!(named(r"\x1b[2J\x0a\x5c"), ("?[2J??".into(), 123));
        assert_eq!(named(""), ("".into(), 123));
    }

    #[test]
    fn a_guest_cannot_pass_its_victims_off_as_anothers() {
        // The name of a cgroup that it made, with a limit of its own.
        let spoof =
            "oom_memcg=/inn/web/guest/a,task_memcg=/inn/db/guest,task=x,pid=1,uid=0,task_memcg=/inn/web/guest/a";
        let (_, name, victim) = read(&record(spoof, "hog")).unwrap();
        assert_eq!((name.as_str(), victim.pid, victim.name()), ("web", 123, "hog"));
        // A line that was written by a program: its facility is not the kernel's.
        let line = record("oom_memcg=/inn/web,task_memcg=/inn/web/guest", "hog");
        assert_eq!(read(&line.replacen("6,", "14,", 1)), None);
        // The name of the innermost cgroup stands before.
        let (_, name, _) = read(
            &record("oom_memcg=/inn/web,task_memcg=/inn/web/guest", "hog")
                .replace("cpuset=guest", "cpuset=,global_oom,task_memcg="),
        )
        .unwrap();
        assert_eq!(name, "web");
    }

    #[test]
    fn who_is_killed_over_and_over_is_told_of_once_a_second_and_counted() {
        let mut quiet = Quiet::default();
        let told: Vec<_> = (0..2500u64).filter_map(|ms| quiet.note(1, 70_000 + ms)).collect();
        assert_eq!(told, [1, 1000, 1000]);
        assert_eq!(quiet.due_ms(), Some(73_000));
        assert_eq!((quiet.note(0, 72_999), quiet.note(0, 73_000)), (None, Some(499)));
        assert_eq!((quiet.due_ms(), quiet.note(0, 99_000)), (None, None), "nothing is told twice");
        assert_eq!(quiet.note(3, 99_000), Some(3));
    }

    #[test]
    fn a_kill_that_is_logged_before_it_is_counted_is_told_once() {
        let mut untold = Untold::default();
        untold.counted(1);
        untold.named();
        // The next one, whose count comes when the log was read to its end.
        untold.named();
        assert_eq!(untold.take_nameless(), None);
        untold.counted(1);
        assert_eq!(untold.take_nameless(), None);
        // The kernel names ten in five seconds.
        untold.counted(3);
        untold.named();
        assert_eq!((untold.take_nameless(), untold.take_nameless()), (Some(2), None));
    }

    #[test]
    fn a_record_that_was_cut_names_nobody() {
        let line = record("oom_memcg=/inn/web,task_memcg=/inn/web/guest", "hog");
        let end = line.find(",uid=").unwrap();
        for cut in 0..end {
            assert_eq!(read(&line[..cut]), None, "{}", &line[..cut]);
        }
    }

    proptest! {
        #[test]
        fn no_record_makes_it_panic(record in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&record, b"inn");
        }

        #[test]
        fn whatever_a_guest_calls_its_processes_and_cgroups_the_guest_is_known(
            task in "[ -~]{0,15}", cgroup in "(/[ -.0-~]{1,40}){0,3}"
        ) {
            let line = record(&format!("oom_memcg=/inn/web,task_memcg=/inn/web/guest{cgroup}"), &task);
            let (kind, name, victim) = read(&line).unwrap();
            prop_assert_eq!((kind, name.as_str(), victim.pid, victim.full), (Kind::App, "web", 123, Full::Guest));
            let line = record(&format!("oom_memcg=/inn/web/guest{cgroup},task_memcg=/inn/web/guest{cgroup}"), &task);
            let (_, name, victim) = read(&line).unwrap();
            prop_assert_eq!((name.as_str(), victim.pid), ("web", 123));
        }
    }
}
