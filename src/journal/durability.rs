//! The durability that a journal guarantees.

/// When a record counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When it survives a loss of power: after fdatasync.
    Disk,
    /// When it survives the process: after write(2). A sync follows each second.
    Process,
}
