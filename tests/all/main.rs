//! Everything that is tested from outside, in one program.

mod config_corpus;
mod config_plan;
mod config_properties;
