//! Exchanges to spans, spans to traces.

pub mod address;
pub mod ancestry;
pub mod attributes;
pub mod clock;
pub mod connection;
pub mod connection_totals;
pub mod context;
pub mod failure;
#[cfg(test)]
pub(crate) mod fixture;
pub mod http;
pub mod ids;
pub mod join;
pub mod key;
mod kubernetes;
pub mod ladder;
pub mod legacy;
pub mod link;
pub mod mesh;
pub mod peers;
pub mod pods;
pub mod process;
mod resource;
pub mod span;
pub mod target;
pub mod tls;
