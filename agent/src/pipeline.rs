//! Records in, spans out: what joins flow, proto and trace.
