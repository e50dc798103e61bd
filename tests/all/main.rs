//! Tests of the library as its users see it: one binary, one module for each subject.

mod server;
mod wire;
