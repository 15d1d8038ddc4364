//! Links inside a process.
