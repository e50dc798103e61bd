//! Every system call that a guest may make. Those that are refused by name stand in [`crate::plan::call`]; what stands in
//! neither, this version does not know, and it is answered as an older kernel would.

/// A list of call numbers, by name.
macro_rules! calls {
    ($($name:ident)+) => { &[$(libc::$name,)+] };
}

/// What every architecture has.
pub const ALLOWED: &[libc::c_long] = calls! {
    // files and directories
    SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_preadv SYS_pwritev SYS_preadv2 SYS_pwritev2
    SYS_openat SYS_openat2 SYS_close SYS_close_range SYS_lseek SYS_fstat SYS_statx SYS_statfs SYS_fstatfs SYS_newfstatat
    SYS_faccessat SYS_faccessat2 SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat SYS_mkdirat SYS_mknodat SYS_linkat
    SYS_symlinkat SYS_readlinkat SYS_unlinkat SYS_renameat2 SYS_truncate SYS_ftruncate SYS_fallocate SYS_utimensat
    SYS_getdents64 SYS_getcwd SYS_chdir SYS_fchdir SYS_chroot SYS_umask SYS_dup SYS_dup3 SYS_fcntl SYS_flock SYS_fsync
    SYS_fdatasync SYS_sync SYS_syncfs SYS_sync_file_range SYS_fadvise64 SYS_readahead SYS_sendfile SYS_splice SYS_tee
    SYS_vmsplice SYS_copy_file_range SYS_pipe2 SYS_memfd_create SYS_memfd_secret
    SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_listxattr SYS_llistxattr
    SYS_flistxattr SYS_removexattr SYS_lremovexattr SYS_fremovexattr
    // a file's handle, which says nothing that stat does not; opening one is refused below
    SYS_name_to_handle_at
    SYS_inotify_init1 SYS_inotify_add_watch SYS_inotify_rm_watch
    SYS_io_setup SYS_io_destroy SYS_io_submit SYS_io_cancel SYS_io_getevents
    // mounts: within the guest's own namespace; an app is refused them
    SYS_mount SYS_umount2 SYS_pivot_root SYS_fsopen SYS_fsconfig SYS_fsmount SYS_fspick SYS_move_mount SYS_open_tree
    SYS_mount_setattr
    // waiting
    SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_ppoll SYS_pselect6 SYS_eventfd2 SYS_signalfd4
    SYS_timerfd_create SYS_timerfd_settime SYS_timerfd_gettime
    // memory
    SYS_brk SYS_mmap SYS_munmap SYS_mremap SYS_mprotect SYS_madvise SYS_process_madvise SYS_process_mrelease SYS_mincore
    SYS_msync SYS_mlock SYS_mlock2 SYS_munlock SYS_mlockall SYS_munlockall SYS_remap_file_pages SYS_membarrier
    SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_mbind SYS_get_mempolicy SYS_set_mempolicy
    SYS_set_mempolicy_home_node SYS_migrate_pages SYS_move_pages
    // processes
    SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_wait4 SYS_waitid SYS_getpid SYS_getppid SYS_gettid SYS_getpgid
    SYS_setpgid SYS_getsid SYS_setsid SYS_set_tid_address SYS_set_robust_list SYS_get_robust_list SYS_rseq SYS_futex
    SYS_futex_waitv SYS_prctl SYS_prlimit64 SYS_getrlimit SYS_setrlimit SYS_getrusage SYS_times SYS_kcmp SYS_ptrace
    SYS_process_vm_readv SYS_process_vm_writev SYS_pidfd_open SYS_pidfd_send_signal SYS_pidfd_getfd SYS_setns SYS_reboot
    SYS_vhangup SYS_sethostname SYS_setdomainname SYS_uname SYS_sysinfo SYS_getrandom SYS_getcpu SYS_seccomp
    SYS_landlock_create_ruleset SYS_landlock_add_rule SYS_landlock_restrict_self
    // scheduling
    SYS_sched_yield SYS_sched_setparam SYS_sched_getparam SYS_sched_setscheduler SYS_sched_getscheduler SYS_sched_setattr
    SYS_sched_getattr SYS_sched_setaffinity SYS_sched_getaffinity SYS_sched_get_priority_max SYS_sched_get_priority_min
    SYS_sched_rr_get_interval SYS_setpriority SYS_getpriority SYS_ioprio_set SYS_ioprio_get
    // signals
    SYS_kill SYS_tkill SYS_tgkill SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigpending SYS_rt_sigsuspend
    SYS_rt_sigtimedwait SYS_rt_sigqueueinfo SYS_rt_tgsigqueueinfo SYS_rt_sigreturn SYS_sigaltstack SYS_restart_syscall
    // users and capabilities
    SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_getresuid SYS_getresgid SYS_getgroups SYS_setuid SYS_setgid
    SYS_setreuid SYS_setregid SYS_setresuid SYS_setresgid SYS_setgroups SYS_setfsuid SYS_setfsgid SYS_capget SYS_capset
    // time
    SYS_clock_gettime SYS_clock_getres SYS_clock_nanosleep SYS_nanosleep SYS_gettimeofday SYS_getitimer SYS_setitimer
    SYS_timer_create SYS_timer_settime SYS_timer_gettime SYS_timer_getoverrun SYS_timer_delete
    // sockets; socket(2) and socketpair(2) are checked by their family
    SYS_bind SYS_listen SYS_accept SYS_accept4 SYS_connect SYS_shutdown SYS_getsockname SYS_getpeername
    SYS_getsockopt SYS_setsockopt SYS_sendto SYS_recvfrom SYS_sendmsg SYS_recvmsg SYS_sendmmsg SYS_recvmmsg
    // System V IPC and message queues, of the guest's own namespace
    SYS_msgget SYS_msgctl SYS_msgsnd SYS_msgrcv SYS_semget SYS_semctl SYS_semop SYS_semtimedop SYS_shmget SYS_shmctl
    SYS_shmat SYS_shmdt SYS_mq_open SYS_mq_unlink SYS_mq_timedsend SYS_mq_timedreceive SYS_mq_notify SYS_mq_getsetattr
};

/// What this architecture has besides, most of it older ways to ask for the same.
#[cfg(target_arch = "x86_64")]
pub const ALLOWED_HERE: &[libc::c_long] = calls! {
    SYS_open SYS_creat SYS_stat SYS_lstat SYS_access SYS_mkdir SYS_rmdir SYS_mknod SYS_link SYS_unlink SYS_symlink
    SYS_readlink SYS_rename SYS_renameat SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes SYS_futimesat SYS_getdents
    SYS_dup2 SYS_pipe SYS_poll SYS_select SYS_epoll_create SYS_epoll_wait SYS_eventfd SYS_signalfd SYS_inotify_init
    SYS_fork SYS_vfork SYS_getpgrp SYS_pause SYS_alarm SYS_time SYS_arch_prctl
};
/// What this architecture has besides.
#[cfg(target_arch = "aarch64")]
pub const ALLOWED_HERE: &[libc::c_long] = calls! { SYS_renameat };

/// Calls younger than the libc crate's tables: their numbers are the same on every architecture (scripts/syscall.tbl).
pub const YOUNG: &[libc::c_long] = &[
    // fchmod of a path without following links: what musl and glibc ask for first
    FCHMODAT2,
    // a shadow stack, which glibc makes where the processor has them (x86_64; aarch64 since 6.13)
    453,
    // futex_wake, futex_wait, futex_requeue: futex(2) in three
    454,
    455,
    456,
    // statmount, listmount: what /proc/self/mountinfo says
    457,
    458,
    // memory whose protection cannot be changed: glibc seals what it has relocated
    MSEAL,
    // setxattrat, getxattrat, listxattrat, removexattrat
    463,
    464,
    465,
    466,
    // libaio's wait, with a signal mask
    IO_PGETEVENTS,
];

// Not here, and so ENOSYS: cachestat (tells what other guests read), lsm_get_self_attr and its kin (the host's policies),
// open_tree_attr, file_getattr and file_setattr (there are older ways), listns (all namespaces), uretprobe (the kernel's own).

const FCHMODAT2: libc::c_long = 452;
const MSEAL: libc::c_long = 462;
/// Older than the common numbers: beside rseq on both.
const IO_PGETEVENTS: libc::c_long = if cfg!(target_arch = "x86_64") { 333 } else { 292 };

// Neighbours and members of the list that libc knows.
const _: () = assert!(MSEAL == libc::SYS_mseal && 450 == libc::SYS_set_mempolicy_home_node);
const _: () = assert!(449 == libc::SYS_futex_waitv && IO_PGETEVENTS + 1 == libc::SYS_rseq);
#[cfg(target_arch = "x86_64")]
const _: () = assert!(FCHMODAT2 == libc::SYS_fchmodat2);
