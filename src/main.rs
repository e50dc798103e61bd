//! The binary's root: what collides with std lives here and in `start/`; everything else is the library.

#![no_std]
#![no_main]

mod start;
