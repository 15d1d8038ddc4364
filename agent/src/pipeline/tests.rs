//! Records in, spans out.
