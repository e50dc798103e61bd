//! What failed: the step, the error number, and a detail. Copy; it becomes words only at the edge.

use core::fmt;

use crate::config::key::Key;
use crate::text;

macro_rules! steps {
    ($($variant:ident $call:literal, $key:expr, $words:literal;)+) => {
        /// What was being done when a call failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Step { $(#[doc = $words] $variant,)+ }

        impl Step {
            /// Every step, in the order of a start.
            pub const ALL: &'static [Step] = &[$(Step::$variant,)+];

            const CALLS: &'static str = concat!($($call, "\0",)+);
            const KEYS: &'static [Option<Key>] = &[$($key,)+];
            const WORDS: &'static str = concat!($($words, "\0",)+);
        }
    };
}

steps! {
    // The supervisor's own.
    FindCgroup "statfs", None, "find the cgroup v2 file system";
    MakeBase "mkdirat", None, "make the cgroup of all guests";
    EnableControllers "write", None, "enable the cgroup controllers";
    LimitReserve "write", Some(Key::Reserve), "keep memory for the host";
    LimitAllProcesses "write", None, "keep processes for the host";
    ReportSocket "socketpair", None, "make the socket that a start reports on";
    OutputPipe "pipe2", Some(Key::Log), "make the pipe for its output";
    OpenKernelLog "openat", Some(Key::Log), "open the kernel's log for its output";
    ReadyPipe "pipe2", Some(Key::Ready), "make the pipe that says it is ready";
    Fork "clone3", None, "start the helper that builds it";
    WatchGuest "pidfd_open", None, "watch its first process";
    Report "recvmsg", None, "read the report of its start";
    Helper "waitid", None, "build it: the helper died";
    StartTimeOut "timerfd", None, "start it in time: its storage hangs";

    // The helper: the host's privileges, in this order.
    HideHelper "prctl", None, "close the helper to the guest";
    MakeCgroup "mkdirat", None, "make its cgroup";
    LimitMemory "write", Some(Key::Memory), "set memory.max";
    LimitMemoryHigh "write", Some(Key::MemoryHigh), "set memory.high";
    LimitMemoryLow "write", Some(Key::MemoryLow), "set memory.low";
    LimitSwap "write", Some(Key::GuestSwap), "set memory.swap.max";
    LimitOomGroup "write", Some(Key::OomGroup), "set memory.oom.group";
    LimitCpus "write", Some(Key::Cpus), "set cpu.max";
    LimitCpuWeight "write", Some(Key::CpuWeight), "set cpu.weight";
    LimitCpuset "write", Some(Key::Cpuset), "set cpuset.cpus";
    LimitIoWeight "write", Some(Key::IoWeight), "set io.weight";
    FindDisk "stat", Some(Key::IoMax), "find the disk of a limit";
    LimitIoMax "write", Some(Key::IoMax), "set io.max";
    LimitProcesses "write", Some(Key::Processes), "set pids.max";
    LimitCgroups "write", None, "limit the cgroups inside it";
    DelegateCgroup "fchownat", None, "hand its cgroup to its root user";
    OpenRoot "open_tree", Some(Key::Root), "open its root directory";
    RootIsDirectory "fstat", Some(Key::Root), "use its root as a directory";
    RootIsClosed "stat", Some(Key::Root), "use a root that other users of the host can reach";
    OpenBind "open_tree", Some(Key::Bind), "open what it is to see of the host";
    BindIsClosed "stat", Some(Key::Bind), "let it write where other users of the host can reach";
    FindDevice "stat", Some(Key::Device), "find a device of the host";
    FeatureDevice "stat", Some(Key::Features), "find the device of a feature";
    LoadDeviceFilter "bpf", None, "load the program that guards its devices";
    AttachDeviceFilter "bpf", None, "attach the program that guards its devices";
    OpenImage "openat", Some(Key::Image), "open its image";
    ImageKind "pread", Some(Key::Image), "find a squashfs, erofs or ext4 in its image";
    ImageWritable "mount", Some(Key::Readonly), "write to its image";
    ImageIsClosed "fstat", Some(Key::Image), "write to an image that other users of the host can open";
    ImageInUse "flock", Some(Key::Image), "use its image beside another guest";
    LoopDevice "ioctl", Some(Key::Image), "make its image a disk";
    MountImage "fsmount", Some(Key::Image), "mount its image";
    TimeNamespace "unshare", None, "make its time namespace";
    ClockOffset "write", None, "start its clocks";
    StartSignal "eventfd2", None, "make the signal between helper and guest";
    ActAsGuest "setresuid", None, "act as the owner of its users";
    Clone "clone3", None, "make its namespaces and first process";
    ReportBirth "sendto", None, "report its first process";
    OpenProcess "openat", None, "open its first process in /proc";
    MapUsers "write", Some(Key::Userns), "map its users";
    MapGroups "write", Some(Key::Userns), "map its groups";
    OomScore "write", Some(Key::OomScore), "set oom_score_adj";
    SetOpenFiles "prlimit64", None, "set its limit of open files";
    SetRlimit "prlimit64", Some(Key::Rlimit), "set a per-process limit";
    OpenUsers "openat", None, "open its user namespace";
    MapRoot "mount_setattr", Some(Key::Root), "map the owners of its root";
    MapBind "mount_setattr", Some(Key::Bind), "map the owners of what it sees of the host";
    StageBind "move_mount", Some(Key::Bind), "lock what it sees of the host";
    PrivateMounts "unshare", None, "make the helper's mount namespace";
    LayerMemory "fsmount", Some(Key::Root), "make the memory of its private layer";
    LayerDirectories "mkdirat", Some(Key::Root), "make the directories of its private layer";
    LayerMount "move_mount", Some(Key::Root), "put its root below its private layer";
    LayerOverlay "fsmount", Some(Key::Root), "make the overlay of its private layer";
    CopyJoin "write", None, "charge the copy of its root to it";
    CopyRoot "copy_file_range", Some(Key::Root), "copy its root to memory";
    CopyTooDeep "openat", Some(Key::Root), "copy its root to memory: directories too deep";
    MakeDevices "fsmount", None, "make its /dev";
    DeviceNode "mknodat", None, "make a file of its /dev";
    HostSysfs "open_tree", Some(Key::Network), "show it the host's /sys";
    MakeDev "move_mount", None, "make its /dev the place where its /proc and /sys are made";
    TakeOver "recvmsg", None, "take its /proc and /sys over to lock what hides parts of them";
    LockMasks "move_mount", None, "lock what hides parts of its /proc and /sys";
    Release "write", None, "let it go on";

    // The guest's own side, in this order.
    HandOver "sendmsg", None, "hand its /proc and /sys over to the helper";
    AwaitRelease "read", None, "wait for the helper";
    NewSession "setsid", None, "begin its session";
    PrivatePropagation "mount", None, "cut its mounts off from the host's";
    AttachRoot "move_mount", Some(Key::Root), "attach its root";
    MountDev "move_mount", None, "mount /dev (its root needs that directory)";
    EnterDev "fchdir", None, "enter its /dev";
    MakeSys "mount", None, "make its /sys";
    MakeProc "mount", None, "make its /proc";
    SetSysctl "write", Some(Key::Sysctl), "set a kernel setting";
    Mask "mount", None, "hide a path of /proc or /sys";
    ReadOnlyPath "mount", None, "make a path of /proc read-only";
    MountCgroup "mount", None, "mount /sys/fs/cgroup";
    MountProc "move_mount", None, "mount /proc (its root needs that directory)";
    MountSys "move_mount", None, "mount /sys (its root needs that directory)";
    MakeMemory "mount", None, "make the memory of its /run or /tmp";
    AboutHost "openat", None, "tell it about the host in /run/host";
    MountRun "move_mount", None, "mount /run (its root needs that directory)";
    MountTmp "move_mount", None, "mount /tmp (its root needs that directory)";
    MountBind "move_mount", Some(Key::Bind), "mount what it sees of the host";
    MountTmpfs "move_mount", Some(Key::Tmpfs), "mount a file system in memory";
    MountShm "mount", None, "mount /dev/shm";
    MountMqueue "mount", None, "mount /dev/mqueue";
    MountPts "mount", None, "mount /dev/pts";
    EnterRoot "fchdir", Some(Key::Root), "enter its root";
    PivotRoot "pivot_root", Some(Key::Root), "make its root the root";
    LeaveOldRoot "umount2", None, "leave the host's root";
    Loopback "ioctl", Some(Key::Network), "bring its loopback up";
    Hostname "sethostname", Some(Key::Hostname), "set its host name";
    OpenInput "openat", None, "open /dev/null as its input";
    OpenTty "openat", Some(Key::Tty), "open its terminal";
    MakeTerminal "openat", None, "make its terminal";
    ReportTerminal "sendmsg", None, "report its terminal";
    ControlTerminal "ioctl", Some(Key::Tty), "make the terminal its session's";
    PassOn "fstat", None, "pass the caller's input, output and error on: a directory leads out of it";
    PlaceDescriptors "dup3", None, "place its descriptors";
    CloseDescriptors "close_range", None, "close every other descriptor";
    Keyring "keyctl", None, "give it a session keyring";
    NoNewPrivs "prctl", None, "set no_new_privs";
    Filter "seccomp", None, "set its system call filter";
    BoundCapabilities "prctl", None, "drop capabilities for good";
    Securebits "prctl", None, "take the power of user 0";
    SetGroups "setgroups", Some(Key::Groups), "set its supplementary groups";
    SetGroup "setresgid", Some(Key::User), "set its group";
    SetUser "setresuid", Some(Key::User), "set its user";
    OwnProgram "mount_setattr", Some(Key::Userns), "keep this program out of its reach";
    BeginAnew "execveat", None, "begin anew, out of its reach";
    DropCapabilities "capset", None, "drop capabilities";
    GiveCapabilities "capset", Some(Key::Caps), "give it capabilities";
    EndWithParent "prctl", None, "let it end with its caller";
    Directory "chdir", Some(Key::Directory), "enter its working directory";
    Words "execve", Some(Key::Command), "list its arguments and environment";
    Execute "execve", Some(Key::Command), "run its command";
    NoCommand "execve", Some(Key::Command), "find its command";
    NoInterpreter "execve", Some(Key::Command), "run its command: its interpreter or loader is missing";

    // A change of a running guest.
    ForkChange "clone3", None, "start the helper that changes it";
    ChangeHelper "waitid", None, "change it: the helper died";
    OpenCgroup "openat", None, "open its cgroup";
    Freeze "write", None, "hold it still";
    MemoryInUse "write", Some(Key::Memory), "set memory.max to less than it uses";
    ListProcesses "read", None, "list its processes";
    ResizeTmpfs "fsconfig", Some(Key::Tmpfs), "change what a file system in memory holds";

    // A config that is read again.
    ReloadMemory "memfd_create", None, "find memory for a new plan";
    ForkReload "clone3", None, "start the helper that reads the config";
    ReloadHelper "waitid", None, "read the config: the helper died or hangs";
    ReserveInUse "write", Some(Key::Reserve), "keep memory for the host that guests have";
    // Its log, while it runs and behind its end.
    OpenLogFile "openat", Some(Key::Log), "open its log file";
    WriteLogFile "write", Some(Key::Log), "write its log file";
    RotateLogFile "rename", Some(Key::Log), "rotate its log files";
    LogFileLate "write", Some(Key::Log), "write its log file in time: its storage hangs or is too slow";

    // A command joining a running guest.
    JoinCgroup "write", None, "join its cgroup";
    Schedule "sched_setscheduler", None, "give it the guest's share of the processors";
    JoinNamespaces "setns", None, "join its namespaces";

    // Its end.
    CgroupEvents "openat", None, "watch its cgroup";
    KillCgroup "write", None, "kill all of it";
    RemoveCgroup "unlinkat", None, "remove its cgroup";

    // Its readiness.
    AwaitOthers "", Some(Key::Ready), "wait any longer for what it comes after";
    ReadyInTime "", Some(Key::Ready), "become ready in time";
    NotifySocket "bind", Some(Key::Ready), "make its notification socket";
    ReportNotify "sendmsg", Some(Key::Ready), "report its notification socket";
    Check "clone3", None, "look whether it is well";
    CheckCommand "", None, "have its check succeed";
    HookCreate "", Some(Key::HookCreate), "run hook-create";
    HookStart "", Some(Key::HookStart), "run hook-start";
    HookStop "", Some(Key::HookStop), "run hook-stop";
    HookDestroy "", Some(Key::HookDestroy), "run hook-destroy";

    // The host's own file systems.
    AwaitDevice "", Some(Key::Mount), "wait any longer for its device";
    FindKind "", Some(Key::Mount), "find a file system on it";
    CheckDisk "", Some(Key::Mount), "have it checked";
    MountHost "mount", Some(Key::Mount), "mount it";
    MountInTime "", Some(Key::Mount), "mount it in time: its storage hangs";
    SwapOn "swapon", Some(Key::Swap), "swap to it";
    // A program in the place of this one.
    OpenProgram "open", None, "open the new program";
    ExecuteProgram "execve", None, "execute the new program";
}

impl Step {
    /// The step with this number; nothing for a number that is none.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Step> {
        Step::ALL.get(usize::from(number)).copied()
    }

    /// The system call that it makes.
    #[must_use]
    pub fn call(self) -> &'static str {
        text::word(Step::CALLS, self as usize)
    }

    /// The key that asked for it, where one did.
    #[must_use]
    pub fn key(self) -> Option<Key> {
        Step::KEYS[self as usize]
    }

    /// Whether a hook is run: which of several stands in the upper half of the fault's detail.
    #[must_use]
    pub fn is_hook(self) -> bool {
        matches!(self, Step::HookCreate | Step::HookStart | Step::HookStop | Step::HookDestroy)
    }

    /// Whether a program is run, and the fault says how it ended: errno 0, and in the detail's lower half its code, or its
    /// signal and 256.
    #[must_use]
    pub fn runs_program(self) -> bool {
        matches!(self, Step::CheckCommand | Step::CheckDisk) || self.is_hook()
    }

    /// What was being done, for people: "mount /proc".
    #[must_use]
    pub fn words(self) -> &'static str {
        text::word(Step::WORDS, self as usize)
    }
}

impl Fault {
    /// What the user can do about it, where that is known.
    #[must_use]
    pub fn advice(self) -> Option<&'static str> {
        let errno = i32::from(self.errno);
        Some(match self.step {
            Step::LimitMemory | Step::LimitMemoryHigh | Step::LimitMemoryLow | Step::LimitOomGroup
                if errno == libc::ENOENT =>
            {
                "this host has no memory controller in cgroup v2"
            }
            Step::LimitReserve if errno == libc::ENOENT => "this host has no memory controller in cgroup v2",
            Step::LimitReserve if errno == libc::EOVERFLOW => "the host has no more memory than that",
            Step::LimitSwap if errno == libc::ENOENT => "this host does not account for swap in cgroup v2",
            Step::LimitCpus | Step::LimitCpuWeight if errno == libc::ENOENT => {
                "this host has no cpu controller in cgroup v2"
            }
            Step::LimitCpuset if errno == libc::ENOENT => "this host has no cpuset controller in cgroup v2",
            Step::LimitIoMax if errno == libc::ENOENT => "this host has no io controller in cgroup v2",
            Step::LimitIoWeight if errno == libc::ENOENT => {
                "this kernel has no shares of disks: they need the io controller, and iocost or the scheduler BFQ"
            }
            Step::FindDisk if errno == libc::EEXIST => {
                "the same disk stands there twice: a partition counts as its disk"
            }
            Step::LimitProcesses if errno == libc::ENOENT => "this host has no pids controller in cgroup v2",
            Step::OwnProgram if errno == libc::ENOSYS => {
                "with the host's users it starts on Linux 5.12 and later; with users of its own (userns) on this kernel too"
            }
            Step::MapRoot => {
                "this kernel cannot id-map this file system: use ephemeral or readonly, or another file system"
            }
            Step::BindIsClosed => {
                "what it writes there is the host root's on disk: chmod 700 a directory above it, or add `ro`"
            }
            Step::MountBind | Step::MountTmpfs if errno == libc::EROFS => {
                "its root is read-only: make the directory or file there that it is mounted on"
            }
            Step::FindDevice if errno == libc::ENODEV => {
                "it is no device file: of a directory, name each device by itself"
            }
            Step::FindDevice | Step::FeatureDevice if errno == libc::ENOENT => {
                "the host has no such device: load its module ([host] modules), or correct the path"
            }
            Step::LoadDeviceFilter => {
                "this kernel lets no program guard a cgroup's devices (CONFIG_CGROUP_BPF): only an app with users of its own \
                 and no device is as safe without"
            }
            Step::GiveCapabilities => "the supervisor itself does not have every capability that is given",
            Step::RootIsClosed => {
                "what it writes there is the host root's on disk: chmod 700 a directory above it, or use ephemeral"
            }
            Step::ImageWritable => "only ext4 can be written to: use ephemeral or readonly",
            Step::ImageIsClosed => {
                "what it keeps secret is in it: chown root and chmod 600 it, or use ephemeral or readonly"
            }
            Step::ImageInUse => "an image that is written to can have one guest only",
            Step::LoopDevice if matches!(errno, libc::ENOENT | libc::ENXIO | libc::ENODEV) => {
                "this kernel has no loop devices yet: modules = loop"
            }
            Step::LoopDevice | Step::MountImage if matches!(errno, libc::EPERM | libc::EACCES) => {
                "only a host's root may mount an image: unpack it into a directory"
            }
            Step::MountImage if errno == libc::ENODEV => match self.detail {
                0 => "this kernel has no squashfs yet: modules = squashfs",
                1 => "this kernel has no erofs yet: modules = erofs",
                _ => "this kernel has no ext4 yet: modules = ext4",
            },
            Step::MountImage => "the file system in it is damaged, or of a kind that this kernel does not know",
            Step::MountProc | Step::MountSys | Step::MountDev | Step::MountRun | Step::MountTmp => match errno {
                libc::ELOOP => "it is a symbolic link there: make it a directory",
                libc::ENOTDIR => "it is something else there: make it a directory",
                libc::ENOENT => "make that directory in its root",
                _ => return None,
            },
            Step::MakeProc | Step::MakeSys if errno == libc::EPERM => {
                "something is mounted over a part of the host's own /proc or /sys, so the kernel gives nobody a new one"
            }
            Step::CopyRoot if errno == libc::ENOSPC => {
                "this kernel cannot id-map this file system, and the root is too large to copy"
            }
            Step::LayerOverlay if errno == libc::ENODEV => {
                "this kernel has no overlay: add `modules = overlay` to [host], for modules are locked once the host is up"
            }
            Step::SetRlimit if errno == libc::EPERM => "the supervisor may not raise its own hard limits",
            Step::ResizeTmpfs if errno == libc::EINVAL => "more than that is in it",
            Step::ResizeTmpfs if errno == libc::ENODEV => "the guest has mounted something else there",
            Step::OpenTty if matches!(errno, libc::ENOENT | libc::ENXIO | libc::ENODEV | libc::EIO) => {
                "there is no such terminal yet: it is tried again"
            }
            Step::ControlTerminal if errno == libc::EPERM => {
                "it has another owner: a service, the emergency shell, or who logged in there"
            }
            Step::Clone if errno == libc::ENOSPC => {
                "the host may have no more namespaces of a kind: sysctl user.max_*_namespaces"
            }
            Step::Clone if errno == libc::EINVAL => "this kernel lacks a kind of namespaces: see `inn check`",
            Step::Freeze => "a process of it waits for the kernel: try again",
            Step::OpenLogFile if errno == libc::EINVAL => "it is no regular file",
            Step::FindCgroup => "mount cgroup2 on /sys/fs/cgroup",
            Step::CheckDisk => "check it by hand, from the emergency shell",
            Step::MountHost if errno == libc::ENODEV => "this kernel has no such file system yet: see `modules`",
            Step::MountHost if errno == libc::ENOENT => "its target is not there, and cannot be made",
            Step::MountHost if errno == libc::EINVAL => {
                "it has no such file system, it is damaged, or an option is wrong"
            }
            Step::SwapOn if errno == libc::EINVAL => "it was not prepared: mkswap",
            _ => return None,
        })
    }
}

/// A failed step. The step is first, where a result's "no fault" is found with the shortest instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Fault {
    /// What was being done.
    pub step: Step,
    /// The kernel's error number (errno(3)).
    pub errno: u16,
    /// Which of several, where a step is done for each item of a list: its index.
    pub detail: u32,
}

impl Fault {
    /// Bytes of an encoded fault.
    pub const BYTES: usize = 7;

    /// As a record for a pipe or a message.
    #[must_use]
    pub fn encode(self) -> [u8; Fault::BYTES] {
        let [e0, e1] = self.errno.to_le_bytes();
        let [d0, d1, d2, d3] = self.detail.to_le_bytes();
        [self.step as u8, e0, e1, d0, d1, d2, d3]
    }

    /// From such a record; nothing where it is none.
    #[must_use]
    pub fn decode(record: &[u8]) -> Option<Fault> {
        let &[step, e0, e1, d0, d1, d2, d3] = record else { return None };
        Some(Fault {
            step: Step::from_number(step)?,
            errno: u16::from_le_bytes([e0, e1]),
            detail: u32::from_le_bytes([d0, d1, d2, d3]),
        })
    }
}

/// "mount /proc: mount: EPERM (not permitted)".
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if matches!(self.step, Step::MemoryInUse | Step::ReserveInUse) {
            let (mib, tenth) = (self.detail >> 10, ((self.detail & 1023) * 10) >> 10);
            return write!(f, "{}, which is {mib}.{tenth}M now", self.step.words());
        }
        if self.step.call().is_empty() {
            f.write_str(self.step.words())?;
            return if self.step.runs_program() { write!(f, ": {}", EndWords(self)) } else { Ok(()) };
        }
        write!(f, "{}: {}: {}", self.step.words(), self.step.call(), ErrnoWords(self.errno))
    }
}

/// How a program ended, of a step that runs one: "it exited with code 3".
struct EndWords<'a>(&'a Fault);

impl fmt::Display for EndWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (i32::from(self.0.errno), self.0.detail & 0xffff) {
            (0, code @ 0..=255) => write!(f, "it exited with code {code}"),
            (0, signal) => write!(f, "it was killed by signal {}", signal.saturating_sub(256)),
            (libc::ETIMEDOUT, _) => f.write_str("it took too long"),
            (_, _) => write!(f, "{}", ErrnoWords(self.0.errno)),
        }
    }
}

/// An error number as a person reads it: its name, and what it means.
#[derive(Clone, Copy, Debug)]
pub struct ErrnoWords(pub u16);

macro_rules! errnos {
    ($($name:ident $words:literal;)+) => {
        const ERRNOS: &[u16] = &[$(libc::$name as u16,)+];
        const ERRNO_WORDS: &str = concat!($(stringify!($name), " (", $words, ")\0",)+);
    };
}

// errno(3)
errnos! {
    EPERM "not permitted"; ENOENT "no such file or directory"; ESRCH "no such process"; EINTR "interrupted";
    EIO "input/output error"; ENXIO "no such device or address"; E2BIG "argument list too long";
    ENOTBLK "not a block device"; ENOEXEC "not a program for this machine"; EBADF "bad descriptor"; ECHILD "no child"; EAGAIN "try again: a limit or a shortage";
    ENOMEM "out of memory"; EACCES "permission denied"; EFAULT "bad address"; EBUSY "busy"; EEXIST "exists";
    EXDEV "on another file system"; ENODEV "no such device"; ENOTDIR "not a directory"; EISDIR "is a directory";
    EINVAL "invalid argument"; ENFILE "too many open files on the host"; EMFILE "too many open files";
    ENOTTY "not a terminal"; ETXTBSY "being written"; EFBIG "file too large"; ENOSPC "no space left"; ESPIPE "not seekable";
    EROFS "read-only file system"; EMLINK "too many links"; EPIPE "nobody reads"; ERANGE "out of range";
    ENAMETOOLONG "name too long"; ENOSYS "not in this kernel"; ENOTEMPTY "not empty"; ELOOP "too many symbolic links";
    ELIBBAD "interpreter is damaged"; EPROTO "protocol error"; EOVERFLOW "value too large"; EUSERS "too many users";
    EMSGSIZE "message too long"; EPROTOTYPE "wrong socket type"; EOPNOTSUPP "not supported"; EADDRINUSE "address in use"; EADDRNOTAVAIL "address not available";
    ENETDOWN "network is down"; ENETUNREACH "network is unreachable"; EHOSTUNREACH "no route there";
    ENOBUFS "no buffer space"; ECONNREFUSED "nobody listens"; ECONNRESET "closed by the other end"; ENOTCONN "not connected";
    ETIMEDOUT "timed out"; EALREADY "already under way"; ESTALE "stale file handle"; EDQUOT "over quota"; EKEYREJECTED "signature rejected";
}

impl fmt::Display for ErrnoWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ERRNOS.iter().position(|number| *number == self.0) {
            Some(index) => f.write_str(text::word(ERRNO_WORDS, index)),
            None => write!(f, "error {}", u32::from(self.0)),
        }
    }
}

/// Names the step that a failed call belonged to.
pub trait At<T> {
    /// # Errors
    /// The error as a [`Fault`] of `step`.
    fn at(self, step: Step) -> Result<T, Fault>;

    /// The same for item number `detail` of a list.
    ///
    /// # Errors
    /// The error as a [`Fault`] of `step`.
    fn at_item(self, step: Step, detail: usize) -> Result<T, Fault>;
}

impl<T> At<T> for Result<T, rustix::io::Errno> {
    fn at(self, step: Step) -> Result<T, Fault> {
        self.at_item(step, 0)
    }

    fn at_item(self, step: Step, detail: usize) -> Result<T, Fault> {
        self.map_err(|error| Fault { step, errno: error.raw_os_error() as u16, detail: detail as u32 })
    }
}
