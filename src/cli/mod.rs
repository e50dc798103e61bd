//! The verbs as a user types them.
//!
//! | file | noun |
//! | --- | --- |
//! | [`verb`], [`parse`] | the table of verbs and options; a command line |
//! | [`ask`] | one request to the supervisor |
//! | [`facts`], [`table`], [`json`], [`units`], [`lossy`] | what is printed, and how |
//! | [`output`], [`screen`] | where it is printed |
//! | [`foreground`], [`terminal`] | a program that has our input, output and terminal |
//! | the others | one verb each |

pub mod act;
pub mod ask;
pub mod check;
pub mod facts;
pub mod json;
pub mod list;
pub mod logs;
pub mod lossy;
pub mod output;
pub mod parse;
pub mod screen;
pub mod status;
pub mod table;
pub mod tree;
pub mod units;
pub mod verb;
pub mod version;
