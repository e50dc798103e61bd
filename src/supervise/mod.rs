//! Events → state → actions: what keeps guests running, in order, and takes them down.
//!
//! | file | noun |
//! | --- | --- |
//! | [`state`] | the life of one guest. Pure |
//! | [`order`] | who starts and stops when. Pure |
//! | [`serve`] | a supervisor from its plan to its end |
//! | [`driver`] | the table of guests; carries the actions of `state` out |
//! | [`change`] | the change of a guest's limits that is being carried out |
//! | [`events`] | the event loop |
//! | [`devices`] | devices and links that come later |
//! | [`poll`] | what the loop waits for |
//! | [`reload`] | the config read again |
//! | [`requests`] | clients' requests while they are carried out |
//! | [`snapshot`] | guests and host as clients see them |
//! | [`ring`] | the log of a guest |
//! | [`kmsg`] | a guest's output on its way to the kernel's log |
//! | [`writer`] | the process that writes log files, as the supervisor sees it |
//! | [`log_files`] | that process |
//! | [`news`] | what happened, for clients |
//! | [`unheard`] | signals that a guest's first process does not hear |
//! | [`kernel_log`] | the kernel's log |
//! | [`oom`] | what the kernel's log says about processes killed for want of memory. Pure |
//! | [`health`] | how a guest is besides its state. Pure |
//! | [`notify`] | what a guest says on its notification socket. Pure |
//! | [`awaited`] | what a guest that is not ready waits for, in words. Pure |
//! | [`wellness`] | whether the host is well: critical guests, the watchdog, the verdict on this boot |
//! | [`errand`] | a child that PID 1 sends |
//! | [`kept`] | what is left to the program that a supervisor becomes |
//! | [`upgrade`] | another program in the place of this one |
//! | [`manager`] | another init, which wants to know how this process is |
//! | [`journal`] | what the person at the console is told |

pub mod awaited;
pub mod change;
pub mod devices;
pub mod driver;
pub mod errand;
pub mod events;
pub mod health;
pub mod journal;
pub mod kept;
pub mod kernel_log;
pub mod kmsg;
pub mod log_files;
pub mod manager;
pub mod news;
pub mod notify;
pub mod oom;
pub mod order;
pub mod poll;
pub mod reload;
pub mod requests;
pub mod ring;
pub mod serve;
pub mod snapshot;
pub mod state;
pub mod unheard;
pub mod upgrade;
pub mod wellness;
pub mod writer;
