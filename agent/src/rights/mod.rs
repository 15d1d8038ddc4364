//! What the agent may do: the capabilities that it needs, those that it keeps, and how it locks itself in when it has
//! started.
//!
//! - [`capability`]: what each capability is for, and what is lost without it.
//! - [`confine`]: gives up everything that is not needed any more, for good; [`calls`] lists the system calls that are left.
//! - [`trusted`]: files that decide what the agent does must not be for anybody to change.

pub mod calls;
pub mod capability;
pub mod confine;
pub mod trusted;
