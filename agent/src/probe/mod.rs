//! The kernel plane from user space: load, attach, verdicts, ring buffers.
