//! The table of verbs and options: the parser, `--help`, `inn help`, and what build.rs makes of it, the manual and the
//! completions. For that it needs nothing but other tables.

use core::fmt::{self, Write};

use crate::config::key::{Key, section};
use crate::text::words;

/// An option that a verb may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opt {
    /// `--help`
    Help,
    /// `--json`
    Json,
    /// `--plain`
    Plain,
    /// `--config FILE`
    Config,
    /// `--socket PATH`
    Socket,
    /// `--wait`
    Wait,
    /// `--timeout TIME`
    Timeout,
    /// `--quiet`
    Quiet,
    /// `--follow`
    Follow,
    /// `--lines N`
    Lines,
    /// `--save`
    Save,
    /// `--columns LIST`
    Columns,
    /// `--sort COLUMN`
    Sort,
    /// `--state LIST`
    State,
    /// `--interval TIME`
    Interval,
    /// `--dry-run`
    DryRun,
    /// `--since WHEN`
    Since,
    /// `--timestamps`
    Timestamps,
    /// `--escape KEY`
    Escape,
    /// `--remove`
    Remove,
    /// `--subreaper`
    Subreaper,
    /// `--group`
    Group,
    /// `--single-child`
    SingleChild,
    /// `--setsid`
    Setsid,
    /// `--rewrite S:R`
    Rewrite,
    /// `--parent-death SIGNAL`
    ParentDeath,
    /// `--exit-ok CODE`
    ExitOk,
    /// `--wait-all`
    WaitAll,
    /// `--pause`
    Pause,
    /// `--warn`
    Warn,
    /// `--verbose`
    Verbose,
    /// `--license`
    License,
    /// `--yes`
    Yes,
}

/// An option as it is typed.
#[derive(Debug)]
pub struct OptFacts {
    /// Which.
    pub option: Opt,
    /// With two dashes before it.
    pub long: &'static str,
    /// With one dash before it; nothing for none.
    pub short: Option<u8>,
    /// What its value is called in help; empty where it takes none.
    pub value: &'static str,
    /// One line.
    pub help: &'static str,
}

const fn option(
    option: Opt,
    long: &'static str,
    short: Option<u8>,
    value: &'static str,
    help: &'static str,
) -> OptFacts {
    OptFacts { option, long, short, value, help }
}

/// Every option.
pub const OPTIONS: &[OptFacts] = &[
    option(Opt::Help, "help", Some(b'h'), "", "this help"),
    option(Opt::Json, "json", None, "", "JSON instead of text"),
    option(Opt::Plain, "plain", None, "", "tab-separated columns, always the same, no heading"),
    option(Opt::Config, "config", Some(b'c'), "FILE", "the config file (/etc/inn.conf)"),
    option(Opt::Socket, "socket", None, "PATH", "its control socket (/run/inn/control)"),
    option(Opt::Wait, "wait", Some(b'w'), "", "return when it is ready, not before"),
    option(Opt::Timeout, "timeout", Some(b't'), "TIME", "give up after so long (10s, 2m): exit code 5"),
    option(Opt::Quiet, "quiet", Some(b'q'), "", "say nothing but errors"),
    option(Opt::Follow, "follow", Some(b'f'), "", "go on printing what comes"),
    option(Opt::Lines, "lines", Some(b'n'), "N", "only the last N lines"),
    option(Opt::Save, "save", Some(b's'), "", "also write it to the config; its comments stay"),
    option(Opt::Columns, "columns", Some(b'o'), "LIST", "only these columns, in this order: name,memory"),
    option(Opt::Sort, "sort", None, "COLUMN", "sort by it: the greatest number, the first letter on top"),
    option(Opt::State, "state", None, "LIST", "only guests in one of these states: running,failed"),
    option(Opt::Interval, "interval", Some(b'i'), "TIME", "how often (1s)"),
    option(Opt::DryRun, "dry-run", None, "", "say what would be done, and do nothing"),
    option(Opt::Since, "since", None, "WHEN", "only what came then or later"),
    option(Opt::Timestamps, "timestamps", Some(b't'), "", "the time of each line before it"),
    option(Opt::Escape, "escape", Some(b'e'), "KEY", "the key that detaches: ctrl-a to ctrl-_, or none"),
    option(Opt::Remove, "remove", Some(b'r'), "", "remove them, and what only they needed"),
    option(Opt::Subreaper, "subreaper", Some(b's'), "", "adopt what is orphaned, also where this is not PID 1"),
    option(Opt::Group, "group", Some(b'g'), "", "signals go to the command's whole process group"),
    option(Opt::SingleChild, "single-child", Some(b'c'), "", "signals go to the command alone (so it is)"),
    option(Opt::Setsid, "setsid", None, "", "a session, signalled as a whole, as dumb-init does"),
    option(Opt::Rewrite, "rewrite", Some(b'r'), "S:R", "for signal S, pass R on; 0 for none"),
    option(Opt::ParentDeath, "parent-death", Some(b'p'), "SIGNAL", "what comes when this process's parent ends"),
    option(Opt::ExitOk, "exit-ok", Some(b'e'), "CODE", "exit with 0 where the command exits with CODE"),
    option(Opt::WaitAll, "wait-all", Some(b'W'), "", "stay until all that was adopted has ended, too"),
    option(Opt::Pause, "pause", Some(b'P'), "", "run nothing, and reap until SIGINT or SIGTERM"),
    option(Opt::Warn, "warn", Some(b'w'), "", "say which adopted processes were reaped"),
    option(Opt::Verbose, "verbose", Some(b'v'), "", "say what happens; twice: signals too"),
    option(Opt::License, "license", Some(b'l'), "", "say the license"),
    option(Opt::Yes, "yes", Some(b'y'), "", "do not ask"),
];

/// What a verb does; the rest of the program knows it by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Checks a config.
    Check,
    /// Runs a guest in the foreground.
    Run,
    /// Is the supervisor.
    Supervise,
    /// Is PID 1 of a container.
    Init,
    /// Lists the guests.
    List,
    /// Shows one guest.
    Status,
    /// Starts guests.
    Start,
    /// Stops guests.
    Stop,
    /// Stops, then starts guests.
    Restart,
    /// Kills guests.
    Kill,
    /// Changes limits of a guest.
    Set,
    /// Reads the config again.
    Reload,
    /// Puts another program in the supervisor's place.
    Upgrade,
    /// Runs a command inside.
    Exec,
    /// Attaches to the console of a guest.
    Console,
    /// Runs a login shell inside.
    Enter,
    /// Prints output of guests.
    Logs,
    /// Prints what happened.
    Events,
    /// Takes the host down, power off.
    PowerOff,
    /// Takes the host down and up again.
    Reboot,
    /// `reset`
    Reset,
    /// Takes the host down, power on.
    Halt,
    /// Says what this is.
    Version,
    /// Explains a verb.
    Help,
    /// Has guests stand still.
    Freeze,
    /// Lets guests go on.
    Thaw,
    /// Says to which guest a process belongs.
    Which,
    /// Says what the kernel counts for guests.
    Stats,
    /// The same for a monitoring system.
    Metrics,
    /// Shows guests, live.
    Top,
    /// Loads kernel modules.
    Modprobe,
    /// Leaves an initramfs.
    SwitchRoot,
}

/// How many words a verb takes behind its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operands {
    /// From the first number to the second.
    Words(usize, usize),
    /// So many, then a command, whose own options are not ours.
    Command(usize),
}

/// A verb.
#[derive(Debug)]
pub struct Verb {
    /// As it is typed.
    pub name: &'static str,
    /// What it does.
    pub act: Act,
    /// Its operands as help shows them.
    pub usage: &'static str,
    /// How many there are.
    pub operands: Operands,
    /// Its options, besides `--help`.
    pub options: &'static [Opt],
    /// One line.
    pub help: &'static str,
    /// What more there is to say, and an example.
    pub more: &'static str,
}

/// Any number of guests, at least one.
const GUESTS: Operands = Operands::Words(1, crate::limits::GUESTS);
const NOTHING: Operands = Operands::Words(0, 0);

const fn verb(
    (name, act): (&'static str, Act),
    (usage, operands): (&'static str, Operands),
    options: &'static [Opt],
    help: &'static str,
    more: &'static str,
) -> Verb {
    Verb { name, act, usage, operands, options, help, more }
}

/// Every verb of this version, in the order of the manual.
pub const VERBS: &[Verb] = &[
    verb(
        ("check", Act::Check),
        ("[FILE]", Operands::Words(0, 1)),
        &[Opt::Config, Opt::Json, Opt::Quiet],
        "say everything that is wrong with a config",
        "Reports every error of the config, not only the first, what this kernel lacks\n\
         for it, and what guests are given, each and all together, that this host does\n\
         not have. Exit code 0: it is good; 2: it is not.\n\n\
         \x20 inn check /etc/inn.conf\n",
    ),
    verb(
        ("run", Act::Run),
        ("[--KEY VALUE]... -- COMMAND... | GUEST", Operands::Command(0)),
        &[Opt::Config, Opt::Quiet],
        "run one guest in the foreground",
        "Runs a throwaway guest made from options, or a guest of the config, and\n\
         returns its program's exit code (125: it could not be started, 126: not\n\
         executable, 127: not found, 128+N: it died of signal N). Every key of a guest\n\
         is an option. Without --root its root is the host's own, read-only, with a\n\
         private layer in memory.\n\n\
         \x20 inn run --memory 64M --processes 20 -- sh\n\
         \x20 inn run --root /srv/web --kind app -- /bin/httpd -f\n",
    ),
    verb(
        ("supervise", Act::Supervise),
        ("", NOTHING),
        &[Opt::Config, Opt::Socket],
        "be the supervisor on a host that has another init",
        "Starts the guests of the config and keeps them, in the foreground, until\n\
         SIGTERM. SIGHUP reads the config again, as `inn reload` does.\n\n\
         \x20 inn supervise --config inn.conf --socket /run/my/control\n",
    ),
    verb(
        ("init", Act::Init),
        ("-- COMMAND...", Operands::Command(0)),
        &[
            Opt::Subreaper,
            Opt::Group,
            Opt::SingleChild,
            Opt::Setsid,
            Opt::Rewrite,
            Opt::ParentDeath,
            Opt::ExitOk,
            Opt::WaitAll,
            Opt::Pause,
            Opt::Warn,
            Opt::Verbose,
            Opt::License,
        ],
        "be PID 1 of somebody else's container",
        "Runs the command, forwards every signal to it, reaps what is orphaned, and\n\
         returns its exit code (125: not started, 126: not executable, 127: not found,\n\
         128+N: it died of signal N). The options are those of tini, dumb-init and\n\
         catatonit; --setsid is what dumb-init does without --single-child. SIGNAL, S\n\
         and R are names or numbers. SIGTSTP, SIGTTIN and SIGTTOU also stop this\n\
         process, until SIGCONT. TINI_SUBREAPER, TINI_KILL_PROCESS_GROUP,\n\
         TINI_VERBOSITY, DUMB_INIT_SETSID and DUMB_INIT_DEBUG of the environment count.\n\
         Under the name of tini, docker-init, catatonit or dumb-init, inn is this verb.\n\n\
         \x20 inn init -- /bin/httpd -f\n\
         \x20 inn init -g -e 143 -r TERM:QUIT -- /bin/worker\n",
    ),
    verb(
        ("list", Act::List),
        ("[GUEST...]", Operands::Words(0, crate::limits::GUESTS)),
        &[Opt::Columns, Opt::Sort, Opt::State, Opt::Json, Opt::Plain, Opt::Socket, Opt::Timeout],
        "guests: state, use and limits",
        "All guests and services, or those that are named: 'web-*' is all whose names\n\
         begin so. MEMORY and PROCS are what a guest uses, and what it may use. FAILS\n\
         counts since the supervisor started: m, processes killed because memory was\n\
         full; p, forks refused because it had too many processes; c, tenths of a second\n\
         in which it came to the end of its CPU time.\n\
         Columns: name state kind pid uptime cpu memory processes restarts fails exit\n\
         description, and every name that --json has. Where the terminal is too narrow\n\
         these go, first to last: description restarts cpu pid fails processes uptime\n\
         memory. --state running has those that are ready, too.\n\n\
         \x20 inn list --sort memory 'web-*'\n\
         \x20 inn list --state running,failed\n\
         \x20 inn list --plain -o name,memory\n",
    ),
    verb(
        ("status", Act::Status),
        ("[GUEST...]", Operands::Words(0, crate::limits::GUESTS)),
        &[Opt::Json, Opt::Plain, Opt::Socket, Opt::Timeout],
        "guests in full, or the host",
        "Without a name: the host, its guests by state, its memory and what guests may\n\
         take of it, its load, what is taken from everybody, and what its kernel lacks.\n\
         Of a guest: limits with use and failures, the last exit and why, its processes,\n\
         and the last lines it wrote. What FAILS of `inn list` counts is counted since\n\
         the supervisor started, all else since the guest did. What the kernel does not\n\
         count is left out, and null in JSON, which has one object a line.\n\n\
         \x20 inn status\n\
         \x20 inn status web\n",
    ),
    verb(
        ("start", Act::Start),
        ("GUEST...", GUESTS),
        &[Opt::Wait, Opt::Timeout, Opt::Json, Opt::Quiet, Opt::Socket],
        "start guests",
        "Returns when each runs, or waits for another that it comes after; with --wait\n\
         when each is ready. All are started together.\n\n\
         \x20 inn start --wait --timeout 30s web store\n",
    ),
    verb(
        ("stop", Act::Stop),
        ("GUEST...", GUESTS),
        &[Opt::Timeout, Opt::Json, Opt::Quiet, Opt::Socket],
        "stop guests",
        "Takes the steps of each guest's `stop`, of all at once, and returns when all of\n\
         them are gone. A pattern stands for many: * any letters, ? any one, [a-c] one of\n\
         these. '*' is every guest; services are not among those, and are named.\n\n\
         \x20 inn stop web\n\
         \x20 inn stop 'web-*' store\n",
    ),
    verb(
        ("restart", Act::Restart),
        ("GUEST...", GUESTS),
        &[Opt::Wait, Opt::Timeout, Opt::Json, Opt::Quiet, Opt::Socket],
        "stop guests, then start them",
        "Returns when each runs again, or with --wait when each is ready.\n\n\
         \x20 inn restart --wait web\n",
    ),
    verb(
        ("kill", Act::Kill),
        ("GUEST...", GUESTS),
        &[Opt::Timeout, Opt::Json, Opt::Quiet, Opt::Socket],
        "kill guests, all of each, at once",
        "Takes no step of the guest's `stop`. Returns when all of it is gone.\n\n\
         \x20 inn kill web\n",
    ),
    verb(
        ("freeze", Act::Freeze),
        ("GUEST...", GUESTS),
        &[Opt::Timeout, Opt::Json, Opt::Quiet, Opt::Socket],
        "have guests stand still",
        "Every process of each stops where it is, keeps its memory, and uses no CPU.\n\
         Returns when all stand still, and gives up waiting after 5s where --timeout does\n\
         not say. A frozen guest that is stopped goes on for that; one that is killed\n\
         does not. Nothing can enter it.\n\n\
         \x20 inn freeze web\n",
    ),
    verb(
        ("thaw", Act::Thaw),
        ("GUEST...", GUESTS),
        &[Opt::Timeout, Opt::Json, Opt::Quiet, Opt::Socket],
        "let frozen guests go on",
        "One that is not frozen just goes on.\n\n\
         \x20 inn thaw 'web-*'\n",
    ),
    verb(
        ("set", Act::Set),
        ("GUEST KEY VALUE...", Operands::Words(2, 1 + 2 * crate::limits::VALUE_WORDS)),
        &[Opt::Save, Opt::Config, Opt::Timeout, Opt::Json, Opt::Quiet, Opt::Socket],
        "change the limits of a guest that runs",
        "Changes all that is given, or nothing: memory memory-high memory-low swap cpus\n\
         cpu-weight cpuset processes io-weight io-max rlimit oom-score oom-group tmpfs,\n\
         with values as in the config. `default` is what holds where the config does not\n\
         say. Of io-max, rlimit and tmpfs the one of the same disk, name or path changes.\n\
         Memory cannot be less than is used; nothing is killed for it. The guests of a\n\
         pattern are changed one after the other.\n\n\
         \x20 inn set web memory 64M cpus 0.5\n\
         \x20 inn set web rlimit='nofile 1024:4096' --save\n",
    ),
    verb(
        ("reload", Act::Reload),
        ("", NOTHING),
        &[Opt::DryRun, Opt::Timeout, Opt::Json, Opt::Quiet, Opt::Socket],
        "read the config again, and do only what changed",
        "Says first what is otherwise: + a guest that is new and starts, - one that is\n\
         stopped and forgotten, ~ a key that changes at once, ! one that does not. A\n\
         guest runs on as it is, all of it, where it cannot change, and is what the\n\
         config says from its next start on; `inn list` tells of it. One that has failed,\n\
         and is otherwise now, starts. What `inn set` has changed without --save goes\n\
         back. A config with an error changes nothing: exit code 2. A guest that the\n\
         kernel does not let change stays as it was: 1. Returns when all is changed, and\n\
         what is removed is gone. SIGHUP does the same.\n\n\
         \x20 inn reload --dry-run\n\
         \x20 inn reload\n",
    ),
    verb(
        ("upgrade", Act::Upgrade),
        ("[FILE]", Operands::Words(0, 1)),
        &[Opt::Timeout, Opt::Quiet, Opt::Socket],
        "put another program in the supervisor's place, guests and all",
        "FILE, or without it what is now where the program of PID 1 was, takes its place:\n\
         guests, services, consoles and logs go on, and notice nothing. The new program\n\
         is asked first whether it could: it must be static, an inn, read what this\n\
         version keeps, and find the config right, which must say what runs (see `inn\n\
         reload --dry-run`). Otherwise nothing is changed: exit code 1. A supervisor that\n\
         has died of a fault goes on in the same way by itself; the third time within a\n\
         minute it starts nothing any more (safe mode), until it is replaced so.\n\n\
         \x20 inn upgrade ./inn\n\
         \x20 inn upgrade\n",
    ),
    verb(
        ("exec", Act::Exec),
        ("GUEST COMMAND...", Operands::Command(1)),
        &[Opt::Socket],
        "run a command inside a guest",
        "The command has the guest's own limits and confinement. Returns its exit code\n\
         (125: it could not be started, 126: not executable, 127: not found, 128+N: it\n\
         died of signal N). On a terminal it gets a terminal of its own, otherwise our\n\
         standard input and output.\n\n\
         \x20 inn exec alice sh\n\
         \x20 inn exec store cat /etc/passwd | wc -l\n",
    ),
    verb(
        ("enter", Act::Enter),
        ("GUEST", Operands::Words(1, 1)),
        &[Opt::Socket],
        "a login shell inside a guest",
        "The shell and home are those of the guest's own /etc/passwd: of root in an os\n\
         guest, of its own user in an app. Otherwise it is as with exec.\n\n\
         \x20 inn enter alice\n",
    ),
    verb(
        ("console", Act::Console),
        ("GUEST", Operands::Words(1, 1)),
        &[Opt::Lines, Opt::Escape, Opt::Socket],
        "attach to the console of a guest",
        "Shows what was written to the console before, and what comes, and types there\n\
         what you type. Ctrl-] detaches, and types itself where it is typed twice at\n\
         once; the end of an input that is not a terminal detaches too. Stays attached\n\
         while the guest starts again, and returns 0 when it is down.\n\n\
         \x20 inn console alice\n\
         \x20 inn console -n 20 --escape ctrl-a alice\n",
    ),
    verb(
        ("logs", Act::Logs),
        ("[GUEST...]", Operands::Words(0, crate::limits::GUESTS)),
        &[Opt::Follow, Opt::Lines, Opt::Since, Opt::Timestamps, Opt::Json, Opt::Socket],
        "what guests wrote",
        "Prints the output that is kept of each guest, of all guests where none is\n\
         named, in the order in which it was written. -n counts the lines of each guest.\n\
         WHEN is so long ago (10m, 2h), a time (14:30), a date (2026-11-23), or both\n\
         (2026-11-23T14:30:00Z); times are UTC. What is lost of a log is told on\n\
         standard error, and which file has what is older where `log` names one. With\n\
         -f, guests that start later are followed too.\n\
         With --json, a line that is not UTF-8 is `base64` in place of `text`, and\n\
         what is not ended by a newline is `partial`.\n\n\
         \x20 inn logs -f -n 20 web\n\
         \x20 inn logs -t --since 10m web store\n",
    ),
    verb(
        ("events", Act::Events),
        ("", NOTHING),
        &[Opt::Follow, Opt::Since, Opt::Json, Opt::Timeout, Opt::Socket],
        "what happened, a JSON object a line",
        "Prints the events that are kept of guests and host, and with -f those that\n\
         come. `seq` is one more with each; a supervisor begins with 1. WHEN is a `seq`,\n\
         behind which it goes on, or a time as of `inn logs`. Where events were not\n\
         read in time, an object `gap` says how many are `missed`.\n\n\
         \x20 inn events -f\n\
         \x20 inn events --since 4711 | jq -r .event\n",
    ),
    verb(
        ("stats", Act::Stats),
        ("[GUEST...]", Operands::Words(0, crate::limits::GUESTS)),
        &[Opt::Follow, Opt::Interval, Opt::Json, Opt::Plain, Opt::Socket, Opt::Timeout],
        "what is counted for guests: CPU, memory, disks, waiting",
        "OPS is reads and writes of disks. WAITS: in how many percent of the last ten\n\
         seconds something of it waited for CPU, memory, disks. FAILS is that of `inn\n\
         list`. With --follow again and again; --json then has one object a line. What\n\
         the kernel does not count is `-`, and null in JSON.\n\n\
         \x20 inn stats 'web-*'\n\
         \x20 inn stats --follow --interval 5s --json\n",
    ),
    verb(
        ("top", Act::Top),
        ("[GUEST...]", Operands::Words(0, crate::limits::GUESTS)),
        &[Opt::Sort, Opt::Interval, Opt::Socket, Opt::Timeout],
        "guests and what they use, live",
        "Keys: c m p d n u sort by CPU, memory, processes, disk, name, uptime; space\n\
         looks at once; q quits. CPU% is of one CPU. A terminal of 80 by 24 is enough,\n\
         and one that a VT100's sequences work on; where TERM is dumb, or the output is\n\
         no terminal, one look is printed.\n\n\
         \x20 inn top --sort memory\n",
    ),
    verb(
        ("metrics", Act::Metrics),
        ("[ADDRESS:PORT]", Operands::Words(0, 1)),
        &[Opt::Socket, Opt::Timeout],
        "what is counted, as OpenMetrics text; or serve it to scrapers",
        "With an address it serves http://ADDRESS:PORT/metrics until it is killed, in the\n\
         format that a scraper asks for. :9100 is every address of the host. Anyone who\n\
         reaches it may read it. In inn.conf:\n\n\
         \x20 [service metrics]\n\
         \x20 command = inn metrics 127.0.0.1:9100\n\n\
         What is printed is right for OpenMetrics and for the older text format, which\n\
         name counters differently: so there they have no type.\n\n\
         \x20 inn metrics | promtool check metrics\n\
         \x20 inn metrics :9100\n",
    ),
    verb(
        ("which", Act::Which),
        ("PID...", Operands::Words(1, crate::limits::GUESTS)),
        &[Opt::Json, Opt::Plain, Opt::Socket, Opt::Timeout],
        "the guest that a process belongs to",
        "Prints its number, its guest, its cgroup and its command. Exit code 3: it is the\n\
         host's, and no guest's.\n\n\
         \x20 inn which $(pidof httpd)\n",
    ),
    verb(
        ("poweroff", Act::PowerOff),
        ("", NOTHING),
        &[Opt::Quiet, Opt::Socket],
        "take the host down and power off",
        "Stops the guests in reverse order, then everything else, then the machine.\n\n\
         \x20 inn poweroff\n",
    ),
    verb(
        ("reboot", Act::Reboot),
        ("", NOTHING),
        &[Opt::Quiet, Opt::Socket],
        "take the host down and boot again",
        "Stops the guests in reverse order, then everything else, then boots again.\n\n\
         \x20 inn reboot\n",
    ),
    verb(
        ("halt", Act::Halt),
        ("", NOTHING),
        &[Opt::Quiet, Opt::Socket],
        "take the host down, power stays on",
        "Stops the guests in reverse order, then everything else, then halts.\n\n\
         \x20 inn halt\n",
    ),
    verb(
        ("reset", Act::Reset),
        ("", NOTHING),
        &[Opt::Yes, Opt::Quiet, Opt::Socket],
        "boot again, and empty what the config names (factory reset)",
        "Names what `reset` in [host] names, and asks; without a terminal only --yes will\n\
         do. Then the host boots again, and empties these directories before anything\n\
         starts; a power cut meanwhile does no harm. inn.reset on the kernel's command\n\
         line does the same. Exit code 2: the config names nothing.\n\n\
         \x20 inn reset\n\
         \x20 inn reset --yes\n",
    ),
    verb(
        ("modprobe", Act::Modprobe),
        ("MODULE... [PARAMETER=VALUE]...", Operands::Words(1, crate::limits::VALUE_WORDS)),
        &[Opt::Remove, Opt::DryRun, Opt::Quiet],
        "load kernel modules, with what they need",
        "A module's name, or what a device or the kernel calls it (an alias). Parameters\n\
         are those of the module before them; those on the kernel's command line\n\
         (loop.max_loop=4) need not be said. --dry-run prints the files, in their order.\n\
         Exit code 1: one of them is not there, or is still in use. Once the host is up\n\
         modules are locked, where `hardening` does not say -modules.\n\n\
         \x20 inn modprobe loop max_loop=4\n\
         \x20 inn modprobe --remove loop\n",
    ),
    verb(
        ("switch-root", Act::SwitchRoot),
        ("NEWROOT [INIT]", Operands::Words(1, 2)),
        &[Opt::Socket],
        "leave an initramfs for the file system mounted on NEWROOT",
        "Everything ends, the initramfs is emptied, and INIT of the new root takes the\n\
         place of PID 1: /sbin/init where not given, or inn. In an initramfs of your own:\n\
         `exec inn switch-root NEWROOT` as the last line of its /init. From the emergency\n\
         shell of inn: once the root is mounted by hand.\n\n\
         \x20 inn switch-root /mnt\n",
    ),
    verb(
        ("version", Act::Version),
        ("", NOTHING),
        &[Opt::Json, Opt::Socket],
        "version of the program, the supervisor and the kernel",
        "Also says what this kernel has of what guests are made of, and what it lacks.\n\n\
         \x20 inn version\n",
    ),
    verb(
        ("help", Act::Help),
        ("[VERB]", Operands::Words(0, 1)),
        &[],
        "explain a verb",
        "The same as `inn VERB --help`.\n\n\
         \x20 inn help run\n",
    ),
];

/// Verbs that are known, and refused: their mechanism has not been built yet.
pub const LATER: &str = "\
    create\0clone\0destroy\0rename\0snapshot\0mount\0umount\0\
    upgrade";

impl Verb {
    /// The verb of this name.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<&'static Verb> {
        VERBS.iter().find(|verb| verb.name.as_bytes() == name)
    }

    /// Whether it takes `option`.
    #[must_use]
    pub fn takes(&self, option: Opt) -> bool {
        option == Opt::Help || self.options.contains(&option)
    }

    /// `inn VERB --help`.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn explain(&self, to: &mut impl Write) -> fmt::Result {
        writeln!(to, "inn {} - {}", self.name, self.help)?;
        let options = if self.options.is_empty() { "" } else { " [OPTIONS]" };
        let blank = if self.usage.is_empty() { "" } else { " " };
        writeln!(to, "\nusage: inn {}{options}{blank}{}\n\n{}\noptions:", self.name, self.usage, self.more)?;
        for facts in OPTIONS.iter().filter(|facts| self.takes(facts.option)) {
            explain_option(to, facts)?;
        }
        if self.act == Act::Run {
            to.write_str("keys:\n")?;
            for key in guest_keys().filter(|key| key.is_built()) {
                writeln!(to, "  --{:<13} {}", key.name(), key.help())?;
            }
        }
        Ok(())
    }
}

/// The keys that `run` takes as options.
pub fn guest_keys() -> impl Iterator<Item = Key> {
    let is_option = |key: &Key| key.sections() & section::GUEST != 0 && !matches!(key, Key::Profile | Key::Command);
    Key::ALL.iter().copied().filter(is_option)
}

/// "  -n, --lines N       only the last N lines"
fn explain_option(to: &mut impl Write, facts: &OptFacts) -> fmt::Result {
    match facts.short {
        Some(short) => write!(to, "  -{}, ", char::from(short))?,
        None => to.write_str("      ")?,
    }
    let width = 14usize.saturating_sub(facts.long.len());
    writeln!(to, "--{} {:width$} {}", facts.long, facts.value, facts.help)
}

/// The verbs as the overview and the manual show them: a heading, and the names below it, of which a version may lack some.
pub const GROUPS: &[(&str, &str)] = &[
    (
        "guests",
        "run\0start\0stop\0restart\0kill\0freeze\0thaw\0set\0create\0clone\0rename\0destroy\0snapshot\0mount\0umount",
    ),
    ("inside a guest", "exec\0enter\0console"),
    ("looking", "list\0status\0logs\0events\0top\0stats\0metrics\0which"),
    ("config", "check\0reload"),
    ("host", "poweroff\0reboot\0halt\0reset\0upgrade\0modprobe\0switch-root\0supervise\0init"),
    ("help", "help\0version"),
];

/// The verbs of a group of [`GROUPS`] that this version has.
pub fn verbs_of(names: &'static str) -> impl Iterator<Item = &'static Verb> {
    words(names).filter_map(|name| Verb::named(name.as_bytes()))
}

/// `inn --help`.
///
/// # Errors
/// Those of `to`.
pub fn overview(to: &mut impl Write) -> fmt::Result {
    to.write_str(
        "inn - PID 1, guests and their supervisor\n\n\
         usage: inn VERB [OPTIONS] ...\n\n\
         to begin:\n\
         \x20 inn run -- sh      a shell in a throwaway guest, with this host's files\n\
         \x20 inn check          what is wrong with /etc/inn.conf\n\
         \x20 inn list           what there is, and what it uses\n\
         \x20 inn help VERB      a verb explained, with examples; also inn VERB --help\n",
    )?;
    for (heading, names) in GROUPS {
        writeln!(to, "\n{heading}:")?;
        for verb in verbs_of(names) {
            writeln!(to, "  {:<10} {}", verb.name, verb.help)?;
        }
    }
    to.write_str(
        "\nAs PID 1 it is the host's init. The manual: inn(8), inn.conf(5).\n\
         exit codes: 0 done; 1 failed; 2 usage or config; 3 no such guest;\n\
         4 wrong state; 5 time-out; 6 not permitted; of run, exec and enter the\n\
         program's own, or 125 not started, 126 not executable, 127 not found\n",
    )
}
