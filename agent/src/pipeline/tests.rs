//! Records in, spans out, with both ends of calls on one machine.

mod calls;
mod cluster;
mod connections;
mod robustness;
mod shed;
mod world;
