//! What this process does when it dies of its own fault: it becomes its own program once more, which goes on where it was.
//!
//! Children, what they have ended with, and descriptors are all still there after execve(2). The handler trusts nothing of
//! what it finds but one page, which the kernel takes from every child (madvise(2), MADV_WIPEONFORK): a helper that faults
//! ends of it, and never becomes the supervisor.

use core::cell::UnsafeCell;
use core::ffi::{c_char, c_int};
use core::mem::size_of;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicUsize, Ordering};

use rustix::fd::{AsRawFd, OwnedFd, RawFd};
use rustix::mm::{Advice, madvise};

use super::process::Arguments;
use super::{Errno, arch, call, descriptor, epitaph, process, signal};

/// The signals that a fault of the program raises, and abort(3).
pub const SIGNALS: [c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT];

/// Words of the environment that are passed on; what is beyond is left out.
const WORDS: usize = 400;
/// Of the handler's stack: what the epitaph needs, several times over.
const STACK_BYTES: usize = 32 << 10;
/// Before the number of the descriptor of what is handed over, in the environment.
const NAME: &[u8] = b"INN_KEPT=";

/// All that the handler goes by.
#[repr(C, align(4096))]
struct Page {
    is_armed: AtomicBool,
    program: AtomicI32,
    /// Something is being done that is not on record yet.
    is_busy: AtomicBool,
    /// The signal that somebody has sent meanwhile; 0 for none.
    waiting: AtomicI32,
    arguments: AtomicPtr<*const c_char>,
    words: AtomicUsize,
    environment: UnsafeCell<[*const c_char; WORDS]>,
    kept: UnsafeCell<[u8; 32]>,
}

// SAFETY: what is in cells is written before `is_armed` is set, by the one thread that there is, and only read after.
unsafe impl Sync for Page {}

static PAGE: Page = Page {
    is_armed: AtomicBool::new(false),
    program: AtomicI32::new(0),
    is_busy: AtomicBool::new(false),
    waiting: AtomicI32::new(0),
    arguments: AtomicPtr::new(ptr::null_mut()),
    words: AtomicUsize::new(0),
    environment: UnsafeCell::new([ptr::null(); WORDS]),
    kept: UnsafeCell::new([0; 32]),
};

#[repr(C, align(4096))]
struct Stack(UnsafeCell<[u8; STACK_BYTES]>);

// SAFETY: only the kernel uses it, for one handler at a time.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; STACK_BYTES]));

/// The set of these signals.
#[must_use]
pub fn signals() -> signal::Set {
    SIGNALS.into_iter().fold(signal::Set::NONE, |set, number| set.with(number as u8))
}

/// Every signal but these.
#[must_use]
pub fn all_others() -> signal::Set {
    SIGNALS.into_iter().fold(signal::Set::ALL, |set, number| set.without(number as u8))
}

/// From now on a fault, or [`become_anew`], makes this process `program` with these arguments, and finds `kept` by
/// [`kept`]. Both stay open. Blocks every other signal than those of a fault.
///
/// # Errors
/// Of madvise(2), sigaltstack(2), rt_sigaction(2), rt_sigprocmask(2).
pub fn arm(program: &OwnedFd, kept: RawFd, arguments: &Arguments) -> Result<(), Errno> {
    PAGE.is_armed.store(false, Ordering::SeqCst);
    PAGE.program.store(program.as_raw_fd(), Ordering::Relaxed);
    PAGE.arguments.store(arguments.words().cast_mut(), Ordering::Relaxed);
    let number = crate::text::Made::new(format_args!("{kept}"));
    let (name, value) = (NAME.iter(), number.as_c_str().to_bytes_with_nul().iter());
    // SAFETY: nobody reads it: the page is not armed.
    let text = unsafe { &mut *PAGE.kept.get() };
    text.iter_mut().zip(name.chain(value)).for_each(|(to, from)| *to = *from);
    // SAFETY: as above.
    let list = unsafe { &mut *PAGE.environment.get() };
    let others = arguments.environment().filter(|word| !word.to_bytes().starts_with(NAME)).map(|word| word.as_ptr());
    let words = core::iter::once(text.as_ptr().cast::<c_char>()).chain(others);
    // The last stays null.
    let rest = list.iter_mut().take(WORDS - 1).zip(words.chain(core::iter::repeat(ptr::null())));
    rest.for_each(|(to, from)| *to = from);
    // SAFETY: a static page of its own, which a child finds all zero: not armed.
    unsafe { madvise((&raw const PAGE).cast_mut().cast(), size_of::<Page>(), Advice::LinuxWipeOnFork) }?;
    let stack = libc::stack_t { ss_sp: STACK.0.get().cast(), ss_flags: 0, ss_size: STACK_BYTES };
    // SAFETY: the stack is a static that nothing else uses.
    unsafe { call(libc::SYS_sigaltstack, [&raw const stack as usize, 0]) }?;
    for number in SIGNALS {
        // struct kernel_sigaction: handler, flags, restorer, mask.
        let flags = libc::SA_SIGINFO | libc::SA_ONSTACK | RESTORER;
        let handler = died as *const () as usize;
        let action = [handler, flags as usize, arch::end_of_handler as *const () as usize, usize::MAX];
        let list = [number as usize, action.as_ptr() as usize, 0, size_of::<u64>()];
        // SAFETY: reads an action that lives beyond the call, whose handler is a function for the life of the program.
        unsafe { call(libc::SYS_rt_sigaction, list) }?;
    }
    work();
    PAGE.is_armed.store(true, Ordering::SeqCst);
    signal::block(all_others())
}

/// Of the kernel's own structure; the C library's headers keep it to themselves.
const RESTORER: c_int = 0x0400_0000;

/// A fault leads to `program` from now on, which stays open.
pub fn lead_to(program: RawFd) {
    PAGE.program.store(program, Ordering::SeqCst);
}

/// From here on until [`rest`] things happen that are not on record: a signal that somebody sends waits, the first time. A
/// fault of the processor does not, for nothing can go on behind it.
pub fn work() {
    PAGE.is_busy.store(true, Ordering::SeqCst);
}

/// All is on record. What was sent meanwhile is obeyed now.
pub fn rest() {
    PAGE.is_busy.store(false, Ordering::SeqCst);
    let number = PAGE.waiting.swap(0, Ordering::SeqCst);
    if number != 0 && PAGE.is_armed.swap(false, Ordering::SeqCst) {
        die(number, None, false);
    }
}

/// A fault ends this process again, as any other: what follows is not for the program that would come after it.
pub fn disarm() {
    PAGE.is_armed.store(false, Ordering::SeqCst);
}

/// Whether this process becomes its program once more when it faults.
#[must_use]
pub fn is_armed() -> bool {
    PAGE.is_armed.load(Ordering::SeqCst)
}

/// What the program that this process was before has left, by its number; nothing where it was none.
#[must_use]
pub fn kept(arguments: &Arguments) -> Option<RawFd> {
    let name = NAME.strip_suffix(b"=").unwrap_or(NAME);
    arguments.variable(name).and_then(|value| crate::text::number(value.to_bytes()))
}

/// Becomes the program that was armed, or `other`. Returns what went wrong: then all is as it was, and armed.
///
/// # Errors
/// Of execveat(2); EINVAL where nothing is armed.
pub fn become_anew(other: Option<RawFd>) -> Errno {
    if !PAGE.is_armed.swap(false, Ordering::SeqCst) {
        return Errno::INVAL;
    }
    let errno = execute(other.unwrap_or_else(|| PAGE.program.load(Ordering::Relaxed)));
    PAGE.is_armed.store(true, Ordering::SeqCst);
    errno
}

/// After the epitaph of a panic: becomes the program that was armed. Returns where nothing is.
pub fn after_panic() {
    if PAGE.is_armed.swap(false, Ordering::SeqCst) {
        let _ = signal::block(signal::Set::ALL);
        let _ = execute(PAGE.program.load(Ordering::Relaxed));
    }
}

fn execute(program: RawFd) -> Errno {
    // What of them is not to be kept the next program closes.
    descriptor::set_all_kept(true);
    let list = [
        program as usize,
        c"".as_ptr() as usize,
        PAGE.arguments.load(Ordering::Relaxed) as usize,
        PAGE.environment.get() as usize,
        libc::AT_EMPTY_PATH as usize,
    ];
    // SAFETY: both lists end with null, and their words live as long as the program.
    let failed = unsafe { call(libc::SYS_execveat, list) }.err().unwrap_or(Errno::NOSYS);
    descriptor::set_all_kept(false);
    failed
}

/// The handler. It returns only where the signal waits.
extern "C" fn died(number: c_int, info: *const libc::siginfo_t, _: *const core::ffi::c_void) {
    // SAFETY: the kernel's, for the life of the handler.
    let info = unsafe { &*info };
    // The kernel saw a fault, where nobody has sent it.
    let is_fault = info.si_code > 0;
    // A second one is of somebody who does not wait, maybe because this process hangs.
    if !is_fault && PAGE.is_busy.load(Ordering::SeqCst) && PAGE.waiting.swap(number, Ordering::SeqCst) == 0 {
        return;
    }
    // A fault in here finds this unset, and ends the process.
    if PAGE.is_armed.swap(false, Ordering::SeqCst) {
        // SAFETY: the kernel fills it in for a fault.
        let address = if is_fault { Some(unsafe { info.si_addr() } as usize) } else { None };
        let is_unmapped = number == libc::SIGSEGV && info.si_code == UNMAPPED;
        die(number, address, is_unmapped && address.is_some_and(is_stack));
    }
    // A child's, or one that came while dying: as without a handler.
    signal::reset(number as u8);
    let _ = signal::block(signal::Set::ALL.without(number as u8));
    let _ = signal::send_to(rustix::process::getpid(), number as u8);
    process::exit(epitaph::CODE)
}

/// Nothing is mapped at the address (sigaction(2), SEGV_MAPERR).
const UNMAPPED: c_int = 1;
/// Below the words that the kernel has put at the beginning of the first thread's stack there is nothing else for so long.
const STACK_ROOM: usize = 128 << 20;

/// Whether an address is where the stack would go on.
fn is_stack(address: usize) -> bool {
    let start = PAGE.arguments.load(Ordering::Relaxed).addr();
    (start.saturating_sub(STACK_ROOM)..start).contains(&address)
}

fn die(number: c_int, address: Option<usize>, is_full: bool) -> ! {
    epitaph::tell_signal(number, address, is_full);
    let _ = signal::block(signal::Set::ALL);
    let _ = execute(PAGE.program.load(Ordering::Relaxed));
    process::exit(epitaph::CODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_one_page_and_what_is_armed_ends_with_null() {
        assert_eq!(size_of::<Page>(), 4096);
        assert!(!is_armed());
        assert_eq!(become_anew(None), Errno::INVAL);
    }
}
