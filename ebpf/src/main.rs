//! The kernel plane.
#![no_std]
#![no_main]
