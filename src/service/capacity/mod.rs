//! The bounds of memory and open files that all requests share.

pub mod bodies;
pub(super) mod out_of_files;
pub mod unfinished;
